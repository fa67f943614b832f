#pragma once

#include <cstdint>

#include <grpc/grpc.h>

// libgrpc exports this for tests, but no installed header declares it: the flags of the message received last. The flag
// of the frame is gone from them once the message is decompressed; another bit keeps the memory of it.
uint32_t grpc_call_test_only_get_message_flags(grpc_call* call);

// Whether the message that `context` received last was compressed on the wire.
template <typename Context>
bool was_compressed(Context& context) {
  constexpr uint32_t kWasCompressed = 0x40000000u;  // GRPC_WRITE_INTERNAL_TEST_ONLY_WAS_COMPRESSED
  return grpc_call_test_only_get_message_flags(context.c_call()) & kWasCompressed;
}
