// A load generator on gRPC's C++ client: calls in a closed loop, all answers checked, on one thread.
//
//   client PORT CONNECTIONS IN_FLIGHT SIZE [PATH FILE]
//
// reads lines of "KIND CALLS MESSAGES" and answers each, once all is done, with "SECONDS P50 P99": how long it took,
// and the percentiles of a call's latency in microseconds. KIND is a method of the service, MESSAGES how many of SIZE
// bytes a streaming call carries; IN_FLIGHT calls are under way on each connection. The kind "Call" sends what is in FILE
// to the unary method PATH of any service, whose answers must all be equal.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "echo.grpc.pb.h"

using bench::Message;
using Clock = std::chrono::steady_clock;

struct Work {
  grpc::CompletionQueue queue;
  Message request;
  int calls_left = 0;
  uint64_t messages = 0;
  std::vector<double> latencies;
  std::string path;
  grpc::Slice bytes;   // What "Call" sends,
  grpc::Slice answer;  // and the first of its answers.
};

struct Connection {
  explicit Connection(std::shared_ptr<grpc::Channel> channel) : echo(bench::Echo::NewStub(channel)), any(channel) {}
  std::unique_ptr<bench::Echo::Stub> echo;
  grpc::GenericStub any;
};

[[noreturn]] void fail(const std::string& what) {
  std::cerr << what << std::endl;
  exit(1);
}

void expect_equal(const Message& reply, uint64_t id, const std::string& raw) {
  if (reply.id() != id || reply.raw() != raw) fail("a wrong answer");
}

// One place in the loop: whatever it asked of the queue last is done when `proceed` is called.
class Place {
 public:
  Place(Work& work, Connection& connection) : work_(work), stub_(*connection.echo), any_(connection.any) {}
  virtual ~Place() = default;

  bool next() {
    if (work_.calls_left == 0) return false;
    --work_.calls_left;
    // The last call lives in the memory of its context, and `start` lets go of it.
    auto last = std::exchange(context_, std::make_unique<grpc::ClientContext>());
    started_ = Clock::now();
    start();
    return true;
  }

  // Returns whether the place has anything under way still.
  bool proceed(bool ok) {
    if (!step(ok)) return true;
    if (!status_.ok()) fail(status_.error_message());
    check();
    work_.latencies.push_back(std::chrono::duration<double, std::micro>(Clock::now() - started_).count());
    return next();
  }

 protected:
  virtual void start() = 0;
  virtual bool step(bool ok) = 0;  // Returns whether the call is over, and `status_` set.
  virtual void check() {}

  Work& work_;
  bench::Echo::Stub& stub_;
  grpc::GenericStub& any_;
  std::unique_ptr<grpc::ClientContext> context_;
  grpc::Status status_;
  Message reply_;

 private:
  Clock::time_point started_;
};

class Do final : public Place {
  using Place::Place;
  void start() override {
    reader_ = stub_.AsyncDo(&*context_, work_.request, &work_.queue);
    reader_->Finish(&reply_, &status_, this);
  }
  bool step(bool) override { return true; }
  void check() override { expect_equal(reply_, work_.request.id(), work_.request.raw()); }
  std::unique_ptr<grpc::ClientAsyncResponseReader<Message>> reader_;
};

class Call final : public Place {
  using Place::Place;
  void start() override {
    grpc::ByteBuffer request(&work_.bytes, 1);
    reader_ = any_.PrepareUnaryCall(&*context_, work_.path, request, &work_.queue);
    reader_->StartCall();
    reader_->Finish(&reply_, &status_, this);
  }
  bool step(bool) override { return true; }
  void check() override {
    grpc::Slice answer;
    if (!reply_.DumpToSingleSlice(&answer).ok() || answer.size() == 0) fail("an answer without a message");
    if (work_.answer.size() == 0) work_.answer = answer;
    if (answer.size() != work_.answer.size() || !std::equal(answer.begin(), answer.end(), work_.answer.begin())) {
      fail("answers that differ");
    }
  }
  grpc::ByteBuffer reply_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader_;
};

class Expand final : public Place {
  using Place::Place;
  enum { kStarting, kReading, kFinishing } state_;
  void start() override {
    state_ = kStarting;
    left_ = work_.messages;
    request_ = work_.request;
    request_.set_id(left_);
    reader_ = stub_.AsyncExpand(&*context_, request_, &work_.queue, this);
  }
  bool step(bool ok) override {
    if (state_ == kFinishing) return true;
    if (state_ == kReading && ok) expect_equal(reply_, --left_, request_.raw());
    if (ok) {
      reader_->Read(&reply_, this);
    } else {
      reader_->Finish(&status_, this);
    }
    state_ = ok ? kReading : kFinishing;
    return false;
  }
  void check() override {
    if (left_) fail("messages are missing");
  }
  uint64_t left_;
  Message request_;
  std::unique_ptr<grpc::ClientAsyncReader<Message>> reader_;
};

class Collect final : public Place {
  using Place::Place;
  enum { kWriting, kClosing, kFinishing } state_;
  void start() override {
    state_ = kWriting;
    left_ = work_.messages;
    writer_ = stub_.AsyncCollect(&*context_, &reply_, &work_.queue, this);
  }
  bool step(bool) override {
    if (state_ == kFinishing) return true;
    if (state_ == kWriting && left_) {
      --left_;
      writer_->Write(work_.request, this);
    } else if (state_ == kWriting) {
      state_ = kClosing;
      writer_->WritesDone(this);
    } else {
      state_ = kFinishing;
      writer_->Finish(&status_, this);
    }
    return false;
  }
  void check() override { expect_equal(reply_, work_.messages, work_.request.raw()); }
  uint64_t left_;
  std::unique_ptr<grpc::ClientAsyncWriter<Message>> writer_;
};

class Chat final : public Place {
  using Place::Place;
  enum { kStarting, kWriting, kReading, kClosing, kFinishing } state_;
  void start() override {
    state_ = kStarting;
    left_ = work_.messages;
    talk_ = stub_.AsyncChat(&*context_, &work_.queue, this);
  }
  bool step(bool ok) override {
    if (state_ == kFinishing) return true;
    if (state_ == kReading) {
      if (!ok) fail("messages are missing");
      expect_equal(reply_, work_.request.id(), work_.request.raw());
    }
    if (state_ == kWriting) {
      state_ = kReading;
      talk_->Read(&reply_, this);
    } else if (state_ == kClosing) {
      state_ = kFinishing;
      talk_->Finish(&status_, this);
    } else if (left_) {
      --left_;
      state_ = kWriting;
      talk_->Write(work_.request, this);
    } else {
      state_ = kClosing;
      talk_->WritesDone(this);
    }
    return false;
  }
  uint64_t left_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Message, Message>> talk_;
};

std::unique_ptr<Place> make_place(const std::string& kind, Work& work, Connection& connection) {
  if (kind == "Do") return std::make_unique<Do>(work, connection);
  if (kind == "Call") return std::make_unique<Call>(work, connection);
  if (kind == "Expand") return std::make_unique<Expand>(work, connection);
  if (kind == "Collect") return std::make_unique<Collect>(work, connection);
  if (kind == "Chat") return std::make_unique<Chat>(work, connection);
  fail("there is no kind " + kind);
}

std::vector<std::unique_ptr<Connection>> connect(const std::string& port, int count) {
  std::vector<std::unique_ptr<Connection>> connections;
  for (int index = 0; index < count; ++index) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    connections.push_back(std::make_unique<Connection>(
        grpc::CreateCustomChannel("127.0.0.1:" + port, grpc::InsecureChannelCredentials(), arguments)));
  }
  return connections;
}

grpc::Slice content(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  if (!file) fail("there is no file " + name);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

double percentile(std::vector<double>& values, double fraction) {
  auto at = values.begin() + static_cast<size_t>(fraction * (values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

int main(int count, char** arguments) {
  auto connections = connect(arguments[1], std::stoi(arguments[2]));
  const int in_flight = std::stoi(arguments[3]);
  Work work;
  work.request.set_id(7);
  for (int index = 0; index < std::stoi(arguments[4]); ++index) work.request.mutable_raw()->push_back(index * 131 + index / 256);
  if (count > 6) {
    work.path = arguments[5];
    work.bytes = content(arguments[6]);
  }
  std::cout << "ready" << std::endl;

  std::string kind;
  while (std::cin >> kind >> work.calls_left >> work.messages) {
    work.latencies.clear();
    std::vector<std::unique_ptr<Place>> places;
    auto started = Clock::now();
    int under_way = 0;
    for (int turn = 0; turn < in_flight; ++turn) {
      for (auto& connection : connections) {
        places.push_back(make_place(kind, work, *connection));
        under_way += places.back()->next();
      }
    }
    void* place;
    for (bool ok; under_way && work.queue.Next(&place, &ok);) under_way -= !static_cast<Place*>(place)->proceed(ok);
    double seconds = std::chrono::duration<double>(Clock::now() - started).count();
    std::cout << seconds << " " << percentile(work.latencies, 0.5) << " " << percentile(work.latencies, 0.99) << std::endl;
  }
}
