// A backend of Triton's for the models that are measured, with nothing in it that could be left out: identity, or, where
// there is a file "weights.bin" beside it, the perceptron of `engine-build mlp`. It shows what Triton itself costs.
//
// What it needs of Triton's backend API is declared here, since the headers come with no package.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

extern "C" {
struct TRITONSERVER_Error;
struct TRITONBACKEND_Input;
struct TRITONBACKEND_Model;
struct TRITONBACKEND_ModelInstance;
struct TRITONBACKEND_Output;
struct TRITONBACKEND_Request;
struct TRITONBACKEND_Response;
TRITONSERVER_Error* TRITONBACKEND_RequestInputByIndex(TRITONBACKEND_Request*, uint32_t index, TRITONBACKEND_Input**);
TRITONSERVER_Error* TRITONBACKEND_InputProperties(
    TRITONBACKEND_Input*, const char** name, int* datatype, const int64_t** shape, uint32_t* rank, uint64_t* size,
    uint32_t* buffers);
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(
    TRITONBACKEND_Input*, uint32_t index, const void** buffer, uint64_t* size, int* memory_type, int64_t* memory_id);
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response**, TRITONBACKEND_Request*);
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(
    TRITONBACKEND_Response*, TRITONBACKEND_Output**, const char* name, int datatype, const int64_t* shape, uint32_t rank);
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(
    TRITONBACKEND_Output*, void** buffer, uint64_t size, int* memory_type, int64_t* memory_id);
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response*, uint32_t flags, TRITONSERVER_Error*);
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request*, uint32_t flags);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(
    TRITONBACKEND_ModelInstance*, TRITONBACKEND_Request*, bool success, uint64_t start, uint64_t compute_start,
    uint64_t compute_end, uint64_t end);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(
    TRITONBACKEND_ModelInstance*, uint64_t batch, uint64_t start, uint64_t compute_start, uint64_t compute_end,
    uint64_t end);
}

namespace {

constexpr int kFp32 = 11, kFinal = 1, kReleaseAll = 1;
constexpr int kInputs = 64, kHidden = 256, kOutputs = 10;

struct Weights {
  float hidden[kInputs][kHidden], hidden_bias[kHidden], output[kHidden][kOutputs], output_bias[kOutputs];
};

std::unique_ptr<Weights> weights;

void require(TRITONSERVER_Error* error) {
  if (error) std::abort();
}

uint64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void infer_row(const float* input, float* output) {
  float hidden[kHidden];
  std::copy_n(weights->hidden_bias, kHidden, hidden);
  for (int i = 0; i < kInputs; ++i) {
    for (int h = 0; h < kHidden; ++h) hidden[h] += input[i] * weights->hidden[i][h];
  }
  std::copy_n(weights->output_bias, kOutputs, output);
  for (int h = 0; h < kHidden; ++h) {
    for (int o = 0; o < kOutputs; ++o) output[o] += std::max(hidden[h], 0.0f) * weights->output[h][o];
  }
}

// Copies an input that may lie in several buffers.
void read(TRITONBACKEND_Input* input, uint32_t buffers, void* to) {
  for (uint32_t index = 0; index < buffers; ++index) {
    const void* buffer;
    uint64_t size;
    int memory_type = 0;
    int64_t memory_id = 0;
    require(TRITONBACKEND_InputBuffer(input, index, &buffer, &size, &memory_type, &memory_id));
    std::memcpy(to, buffer, size);
    to = static_cast<char*>(to) + size;
  }
}

void answer(TRITONBACKEND_Request* request) {
  TRITONBACKEND_Input* input;
  TRITONBACKEND_Response* response;
  TRITONBACKEND_Output* output;
  const int64_t* shape;
  uint32_t rank, buffers;
  uint64_t size;
  require(TRITONBACKEND_RequestInputByIndex(request, 0, &input));
  require(TRITONBACKEND_InputProperties(input, nullptr, nullptr, &shape, &rank, &size, &buffers));
  require(TRITONBACKEND_ResponseNew(&response, request));
  void* to;
  int memory_type = 0;
  int64_t memory_id = 0;
  if (weights) {
    const int64_t rows = shape[0], answered[] = {rows, kOutputs};
    std::vector<float> values(rows * kInputs);
    read(input, buffers, values.data());
    require(TRITONBACKEND_ResponseOutput(response, &output, "OUTPUT0", kFp32, answered, 2));
    require(TRITONBACKEND_OutputBuffer(output, &to, rows * kOutputs * sizeof(float), &memory_type, &memory_id));
    for (int64_t row = 0; row < rows; ++row) infer_row(&values[row * kInputs], static_cast<float*>(to) + row * kOutputs);
  } else {
    require(TRITONBACKEND_ResponseOutput(response, &output, "OUTPUT0", kFp32, shape, rank));
    require(TRITONBACKEND_OutputBuffer(output, &to, size, &memory_type, &memory_id));
    read(input, buffers, to);
  }
  require(TRITONBACKEND_ResponseSend(response, kFinal, nullptr));
}

}  // namespace

extern "C" {

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model*) {
  Dl_info self;
  dladdr(reinterpret_cast<void*>(&now), &self);
  std::ifstream file(std::filesystem::path(self.dli_fname).replace_filename("weights.bin"), std::ios::binary);
  if (file) {
    weights = std::make_unique<Weights>();
    if (!file.read(reinterpret_cast<char*>(weights.get()), sizeof(Weights))) std::abort();
  }
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, const uint32_t count) {
  const uint64_t start = now();
  for (uint32_t index = 0; index < count; ++index) answer(requests[index]);
  const uint64_t end = now();
  for (uint32_t index = 0; index < count; ++index) {
    require(TRITONBACKEND_ModelInstanceReportStatistics(instance, requests[index], true, start, start, end, end));
    require(TRITONBACKEND_RequestRelease(requests[index], kReleaseAll));
  }
  require(TRITONBACKEND_ModelInstanceReportBatchStatistics(instance, count, start, start, end, end));
  return nullptr;
}

}
