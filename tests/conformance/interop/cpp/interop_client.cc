// C++ gRPC's end of the interoperability cases as a client: `interop_client --case=NAME --target=ADDRESS` exits 0 if
// the case held, and otherwise says on stderr what did not.
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "checks.h"
#include "compressed_cases.h"

namespace {

void empty_unary(Stubs& stubs) {
  Context context;
  Empty response;
  check(stubs.test->EmptyCall(&context, Empty(), &response));
  check(response.ByteSizeLong() == 0, "an empty message with content");
}

void large_unary(Stubs& stubs) {
  Context context;
  SimpleResponse response;
  check(stubs.test->UnaryCall(&context, large_request(), &response));
  check_zeros(response, kLargeResponse);
}

void client_streaming(Stubs& stubs) {
  Context context;
  StreamingInputCallResponse response;
  const auto writer = stubs.test->StreamingInputCall(&context, &response);
  int total = 0;
  for (int size : kRequestSizes) {
    StreamingInputCallRequest request;
    *request.mutable_payload() = zeros(size);
    check(writer->Write(request), "the stream ended early");
    total += size;
  }
  writer->WritesDone();
  check(writer->Finish());
  check(response.aggregated_payload_size() == total, "another sum of sizes");
}

void server_streaming(Stubs& stubs) {
  Context context;
  StreamingOutputCallRequest request;
  for (int size : kResponseSizes) request.add_response_parameters()->set_size(size);
  const auto reader = stubs.test->StreamingOutputCall(&context, request);
  StreamingOutputCallResponse response;
  for (int size : kResponseSizes) {
    check(reader->Read(&response), "too few messages");
    check_zeros(response, size);
  }
  check(!reader->Read(&response), "too many messages");
  check(reader->Finish());
}

void ping_pong(Stubs& stubs) {
  Context context;
  const auto stream = stubs.test->FullDuplexCall(&context);
  StreamingOutputCallResponse response;
  for (size_t i = 0; i < kRequestSizes.size(); ++i) {
    check(stream->Write(output_request(kRequestSizes[i], kResponseSizes[i])), "the stream ended early");
    check(stream->Read(&response), "no answer");
    check_zeros(response, kResponseSizes[i]);
  }
  stream->WritesDone();
  check(!stream->Read(&response), "too many messages");
  check(stream->Finish());
}

void empty_stream(Stubs& stubs) {
  Context context;
  const auto stream = stubs.test->FullDuplexCall(&context);
  stream->WritesDone();
  StreamingOutputCallResponse response;
  check(!stream->Read(&response), "a message");
  check(stream->Finish());
}

void cancel_after_begin(Stubs& stubs) {
  Context context;
  StreamingInputCallResponse response;
  const auto writer = stubs.test->StreamingInputCall(&context, &response);
  context.TryCancel();
  check(writer->Finish(), StatusCode::CANCELLED);
}

void cancel_after_first_response(Stubs& stubs) {
  Context context;
  const auto stream = stubs.test->FullDuplexCall(&context);
  check(stream->Write(output_request(kRequestSizes[0], kResponseSizes[0])), "the stream ended early");
  StreamingOutputCallResponse response;
  check(stream->Read(&response), "no answer");
  check_zeros(response, kResponseSizes[0]);
  context.TryCancel();
  check(stream->Finish(), StatusCode::CANCELLED);
}

void timeout_on_sleeping_server(Stubs& stubs) {
  Context context(1ms);
  const auto stream = stubs.test->FullDuplexCall(&context);
  StreamingOutputCallRequest request;
  *request.mutable_payload() = zeros(kRequestSizes[0]);
  stream->Write(request);
  check(stream->Finish(), StatusCode::DEADLINE_EXCEEDED);
}

const std::pair<std::string, std::string> kInitial{"x-grpc-test-echo-initial", "test_initial_metadata_value"};
const std::pair<std::string, std::string> kTrailing{"x-grpc-test-echo-trailing-bin", "\xab\xab\xab"};

void send_metadata(ClientContext& context) {
  context.AddMetadata(kInitial.first, kInitial.second);
  context.AddMetadata(kTrailing.first, kTrailing.second);
}

void check_metadata(const ClientContext& context) {
  auto has = [](const auto& metadata, const auto& expected) {
    const auto [first, last] = metadata.equal_range(expected.first);
    return std::distance(first, last) == 1 && first->second == expected.second;
  };
  check(has(context.GetServerInitialMetadata(), kInitial), "initial metadata that is not what was sent");
  check(has(context.GetServerTrailingMetadata(), kTrailing), "trailing metadata that is not what was sent");
}

void custom_metadata_unary(Stubs& stubs) {
  Context context;
  send_metadata(context);
  SimpleResponse response;
  check(stubs.test->UnaryCall(&context, large_request(), &response));
  check_zeros(response, kLargeResponse);
  check_metadata(context);
}

void custom_metadata_full_duplex(Stubs& stubs) {
  Context context;
  send_metadata(context);
  const auto stream = stubs.test->FullDuplexCall(&context);
  check(stream->Write(output_request(kLargeRequest, kLargeResponse)), "the stream ended early");
  stream->WritesDone();
  StreamingOutputCallResponse response;
  check(stream->Read(&response), "no answer");
  check_zeros(response, kLargeResponse);
  check(!stream->Read(&response), "too many messages");
  check(stream->Finish());
  check_metadata(context);
}

void custom_metadata(Stubs& stubs) {
  custom_metadata_unary(stubs);
  custom_metadata_full_duplex(stubs);
}

EchoStatus unknown(const std::string& message) {
  EchoStatus status;
  status.set_code(StatusCode::UNKNOWN);
  status.set_message(message);
  return status;
}

void check_echoed(const Status& status, const EchoStatus& sent) {
  check(status, static_cast<StatusCode>(sent.code()));
  check(status.error_message() == sent.message(), "the message " + status.error_message());
}

void unary_status(Stubs& stubs, const EchoStatus& asked) {
  Context context;
  SimpleRequest request;
  *request.mutable_response_status() = asked;
  SimpleResponse response;
  check_echoed(stubs.test->UnaryCall(&context, request, &response), asked);
}

void full_duplex_status(Stubs& stubs, const EchoStatus& asked) {
  Context context;
  const auto stream = stubs.test->FullDuplexCall(&context);
  StreamingOutputCallRequest request;
  *request.mutable_response_status() = asked;
  stream->Write(request);
  stream->WritesDone();
  StreamingOutputCallResponse response;
  check(!stream->Read(&response), "a message");
  check_echoed(stream->Finish(), asked);
}

void status_code_and_message(Stubs& stubs) {
  unary_status(stubs, unknown("test status message"));
  full_duplex_status(stubs, unknown("test status message"));
}

void special_status_message(Stubs& stubs) {
  unary_status(stubs, unknown("\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"));
}

void unimplemented_method(Stubs& stubs) {
  Context context;
  Empty response;
  check(stubs.test->UnimplementedCall(&context, Empty(), &response), StatusCode::UNIMPLEMENTED);
}

void unimplemented_service(Stubs& stubs) {
  Context context;
  Empty response;
  check(stubs.unimplemented->UnimplementedCall(&context, Empty(), &response), StatusCode::UNIMPLEMENTED);
}

#define CASE(name) {#name, name}
const std::map<std::string, void (*)(Stubs&)> kCases{
    CASE(empty_unary), CASE(large_unary), CASE(client_streaming), CASE(server_streaming), CASE(ping_pong),
    CASE(empty_stream), CASE(cancel_after_begin), CASE(cancel_after_first_response), CASE(timeout_on_sleeping_server),
    CASE(custom_metadata), CASE(status_code_and_message), CASE(special_status_message), CASE(unimplemented_method),
    CASE(unimplemented_service), CASE(client_compressed_unary), CASE(client_compressed_streaming),
    CASE(server_compressed_unary), CASE(server_compressed_streaming)};
#undef CASE

std::string flag(const std::vector<std::string>& arguments, const std::string& name) {
  for (const auto& argument : arguments)
    if (argument.rfind(name, 0) == 0) return argument.substr(name.size());
  throw std::invalid_argument(name + "... is missing");
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto run = kCases.at(flag(arguments, "--case="));
  Stubs stubs(grpc::CreateChannel(flag(arguments, "--target="), grpc::InsecureChannelCredentials()));
  run(stubs);
} catch (const std::exception& error) {
  std::cerr << error.what() << std::endl;
  return 1;
}
