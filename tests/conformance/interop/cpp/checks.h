// What the client's cases are made of: sizes, messages of zeros, and checks that throw what did not hold.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "interop.grpc.pb.h"

using namespace grpc::testing;
using grpc::ClientContext;
using grpc::Status;
using grpc::StatusCode;
using namespace std::chrono_literals;

constexpr int kLargeRequest = 271828;
constexpr int kLargeResponse = 314159;
inline const std::vector<int> kRequestSizes{27182, 8, 1828, 45904};
inline const std::vector<int> kResponseSizes{31415, 9, 2653, 58979};

struct Stubs {
  explicit Stubs(const std::shared_ptr<grpc::Channel>& channel)
      : test(TestService::NewStub(channel)), unimplemented(UnimplementedService::NewStub(channel)) {}
  std::unique_ptr<TestService::Stub> test;
  std::unique_ptr<UnimplementedService::Stub> unimplemented;
};

// A call's context whose deadline keeps a case from hanging.
struct Context : ClientContext {
  explicit Context(std::chrono::milliseconds timeout = 10s) {
    set_deadline(std::chrono::system_clock::now() + timeout);
  }
};

inline void check(bool held, const std::string& what) {
  if (!held) throw std::runtime_error(what);
}

inline void check(const Status& status, StatusCode code = StatusCode::OK) {
  check(status.error_code() == code, "status " + std::to_string(status.error_code()) + " (" + status.error_message() +
                                         ") instead of " + std::to_string(code));
}

template <typename Response>
void check_zeros(const Response& response, int size) {
  const auto& body = response.payload().body();
  const auto sizes = std::to_string(body.size()) + " bytes instead of " + std::to_string(size);
  check(static_cast<int>(body.size()) == size, sizes);
  check(std::all_of(body.begin(), body.end(), [](char byte) { return !byte; }), "a body of other bytes than zeros");
}

inline Payload zeros(int size) {
  Payload payload;
  payload.mutable_body()->assign(size, '\0');
  return payload;
}

inline SimpleRequest large_request() {
  SimpleRequest request;
  *request.mutable_payload() = zeros(kLargeRequest);
  request.set_response_size(kLargeResponse);
  return request;
}

inline StreamingOutputCallRequest output_request(int request_size, int response_size) {
  StreamingOutputCallRequest request;
  *request.mutable_payload() = zeros(request_size);
  request.add_response_parameters()->set_size(response_size);
  return request;
}
