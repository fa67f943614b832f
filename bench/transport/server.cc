// The yardstick: gRPC's C++ callback server with default options.
//
//   server [PORT]
#include <grpcpp/grpcpp.h>

#include <iostream>
#include <string>

#include "echo.grpc.pb.h"

using bench::Message;
using grpc::CallbackServerContext;
using grpc::Status;

class Expansion final : public grpc::ServerWriteReactor<Message> {
 public:
  explicit Expansion(const Message& request) : left_(request.id()) {
    message_.set_raw(request.raw());
    OnWriteDone(true);
  }
  void OnWriteDone(bool ok) override {
    if (!ok || left_ == 0) return Finish(Status::OK);
    message_.set_id(--left_);
    StartWrite(&message_);
  }
  void OnDone() override { delete this; }

 private:
  Message message_;
  uint64_t left_;
};

class Collection final : public grpc::ServerReadReactor<Message> {
 public:
  explicit Collection(Message* reply) : reply_(reply) { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (ok) {
      ++count_;
      return StartRead(&message_);
    }
    reply_->set_id(count_);
    reply_->set_raw(message_.raw());
    Finish(Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  Message* reply_;
  Message message_;
  uint64_t count_ = 0;
};

class Conversation final : public grpc::ServerBidiReactor<Message, Message> {
 public:
  Conversation() { StartRead(&message_); }
  void OnReadDone(bool ok) override { ok ? StartWrite(&message_) : Finish(Status::OK); }
  void OnWriteDone(bool ok) override { ok ? StartRead(&message_) : Finish(Status::OK); }
  void OnDone() override { delete this; }

 private:
  Message message_;
};

class Echo final : public bench::Echo::CallbackService {
  grpc::ServerUnaryReactor* Do(CallbackServerContext* context, const Message* request, Message* reply) override {
    reply->set_id(request->id());
    reply->set_raw(request->raw());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(Status::OK);
    return reactor;
  }
  grpc::ServerWriteReactor<Message>* Expand(CallbackServerContext*, const Message* request) override {
    return new Expansion(*request);
  }
  grpc::ServerReadReactor<Message>* Collect(CallbackServerContext*, Message* reply) override {
    return new Collection(reply);
  }
  grpc::ServerBidiReactor<Message, Message>* Chat(CallbackServerContext*) override { return new Conversation; }
};

int main(int count, char** arguments) {
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(std::string("127.0.0.1:") + (count > 1 ? arguments[1] : "0"), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&echo);
  auto server = builder.BuildAndStart();
  std::cout << "gRPC 127.0.0.1:" << port << std::endl;
  server->Wait();
}
