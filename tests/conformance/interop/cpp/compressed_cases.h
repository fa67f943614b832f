// The client's cases that look at the compressed flag of a message, as it was on the wire.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "checks.h"
#include "message_flags.h"

inline void compressed_request(Stubs& stubs, bool compressed, bool told, StatusCode code) {
  Context context;
  if (compressed) context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  SimpleRequest request = large_request();
  request.mutable_expect_compressed()->set_value(told);
  SimpleResponse response;
  check(stubs.test->UnaryCall(&context, request, &response), code);
  if (code == StatusCode::OK) check_zeros(response, kLargeResponse);
}

inline void client_compressed_unary(Stubs& stubs) {
  compressed_request(stubs, false, true, StatusCode::INVALID_ARGUMENT);
  compressed_request(stubs, true, false, StatusCode::INVALID_ARGUMENT);
  compressed_request(stubs, true, true, StatusCode::OK);
  compressed_request(stubs, false, false, StatusCode::OK);
}

inline bool write_compressed(grpc::ClientWriter<StreamingInputCallRequest>& writer, int size, bool compressed,
                             bool told) {
  StreamingInputCallRequest request;
  *request.mutable_payload() = zeros(size);
  request.mutable_expect_compressed()->set_value(told);
  grpc::WriteOptions options;
  if (!compressed) options.set_no_compression();
  return writer.Write(request, options);
}

inline void compressed_stream_probe(Stubs& stubs) {
  Context context;
  StreamingInputCallResponse response;
  const auto writer = stubs.test->StreamingInputCall(&context, &response);
  write_compressed(*writer, kRequestSizes[0], false, true);
  writer->WritesDone();
  check(writer->Finish(), StatusCode::INVALID_ARGUMENT);
}

inline void client_compressed_streaming(Stubs& stubs) {
  compressed_stream_probe(stubs);
  Context context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  StreamingInputCallResponse response;
  const auto writer = stubs.test->StreamingInputCall(&context, &response);
  check(write_compressed(*writer, 27182, true, true), "the stream ended early");
  check(write_compressed(*writer, 45904, false, false), "the stream ended early");
  writer->WritesDone();
  check(writer->Finish());
  check(response.aggregated_payload_size() == 27182 + 45904, "another sum of sizes");
}

inline void check_flag(ClientContext& context, bool expected) {
  check(was_compressed(context) == expected, expected ? "an uncompressed message" : "a compressed message");
}

inline void server_compressed_unary(Stubs& stubs) {
  for (bool compressed : {true, false}) {
    Context context;
    SimpleRequest request = large_request();
    request.mutable_response_compressed()->set_value(compressed);
    SimpleResponse response;
    check(stubs.test->UnaryCall(&context, request, &response));
    check_zeros(response, kLargeResponse);
    check_flag(context, compressed);
  }
}

inline void server_compressed_streaming(Stubs& stubs) {
  const std::vector<std::pair<int, bool>> asked{{31415, true}, {92653, false}};
  Context context;
  StreamingOutputCallRequest request;
  for (auto [size, compressed] : asked) {
    auto* parameters = request.add_response_parameters();
    parameters->set_size(size);
    parameters->mutable_compressed()->set_value(compressed);
  }
  const auto reader = stubs.test->StreamingOutputCall(&context, request);
  StreamingOutputCallResponse response;
  for (auto [size, compressed] : asked) {
    check(reader->Read(&response), "too few messages");
    check_zeros(response, size);
    check_flag(context, compressed);
  }
  check(!reader->Read(&response), "too many messages");
  check(reader->Finish());
}
