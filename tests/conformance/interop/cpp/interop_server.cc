// C++ gRPC's end of the interoperability cases as a server. It prints its address as JSON, and serves until its stdin
// ends.
#include <chrono>
#include <iostream>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "interop.grpc.pb.h"
#include "message_flags.h"

using namespace grpc::testing;
using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;

namespace {

void echo_metadata(ServerContext& context) {
  const auto& received = context.client_metadata();
  auto text = [](grpc::string_ref value) { return std::string(value.data(), value.size()); };
  if (auto initial = received.find("x-grpc-test-echo-initial"); initial != received.end())
    context.AddInitialMetadata(text(initial->first), text(initial->second));
  if (auto trailing = received.find("x-grpc-test-echo-trailing-bin"); trailing != received.end())
    context.AddTrailingMetadata(text(trailing->first), text(trailing->second));
}

Status asked(const EchoStatus& status) { return {static_cast<StatusCode>(status.code()), status.message()}; }

template <typename Request>
bool came_as_told(ServerContext& context, const Request& request) {
  return !request.has_expect_compressed() || request.expect_compressed().value() == was_compressed(context);
}

const Status kUnexpectedFlag{StatusCode::INVALID_ARGUMENT, "expect_compressed differs from the flag on the wire"};

template <typename Writer>
void write_asked(const StreamingOutputCallRequest& request, Writer& writer) {
  for (const auto& parameters : request.response_parameters()) {
    std::this_thread::sleep_for(std::chrono::microseconds(parameters.interval_us()));
    StreamingOutputCallResponse response;
    response.mutable_payload()->mutable_body()->assign(parameters.size(), '\0');
    grpc::WriteOptions options;
    if (!parameters.compressed().value()) options.set_no_compression();
    if (!writer.Write(response, options)) return;
  }
}

class Service final : public TestService::Service {
  Status EmptyCall(ServerContext*, const Empty*, Empty*) override { return Status::OK; }

  Status UnaryCall(ServerContext* context, const SimpleRequest* request, SimpleResponse* response) override {
    if (!came_as_told(*context, *request)) return kUnexpectedFlag;
    echo_metadata(*context);
    if (request->response_compressed().value()) context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    response->mutable_payload()->mutable_body()->assign(request->response_size(), '\0');
    return asked(request->response_status());
  }

  Status StreamingInputCall(ServerContext* context, grpc::ServerReader<StreamingInputCallRequest>* reader,
                            StreamingInputCallResponse* response) override {
    int size = 0;
    for (StreamingInputCallRequest request; reader->Read(&request); size += request.payload().body().size())
      if (!came_as_told(*context, request)) return kUnexpectedFlag;
    response->set_aggregated_payload_size(size);
    return Status::OK;
  }

  Status StreamingOutputCall(ServerContext* context, const StreamingOutputCallRequest* request,
                             grpc::ServerWriter<StreamingOutputCallResponse>* writer) override {
    context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    write_asked(*request, *writer);
    return Status::OK;
  }

  Status FullDuplexCall(
      ServerContext* context,
      grpc::ServerReaderWriter<StreamingOutputCallResponse, StreamingOutputCallRequest>* stream) override {
    echo_metadata(*context);
    for (StreamingOutputCallRequest request; stream->Read(&request); write_asked(request, *stream))
      if (request.response_status().code()) return asked(request.response_status());
    return Status::OK;
  }
};

}  // namespace

int main() {
  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port).RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (!server || !port) return 1;
  // It sees the flags itself, so that it needs no tap.
  std::cout << R"({"plain": "127.0.0.1:)" << port << R"(", "tapped": "127.0.0.1:)" << port << R"("})" << std::endl;
  for (std::string line; std::getline(std::cin, line);) continue;
  server->Shutdown(std::chrono::system_clock::now());
}
