/* grpc_server - a server of gRPC with methods of every kind: grpc_server threads|callbacks PORT UNIT_US [CERTIFICATE KEY]
 *
 *   /test.Shop/Get    one message for one; /test.Shop/Last too
 *   /test.Shop/Light  the same, but burns one unit of CPU time; /test.Shop/Heavy burns ten
 *   /test.Shop/Fail   ends with the status whose number the message holds
 *   /test.Shop/List   for one message as many as it says
 *   /test.Shop/Sum    one message for many
 *   /test.Shop/Talk   one message for each, both ways at once
 *
 * Messages are bytes, so that no compiler of messages is needed. "threads" serves by a pool of gRPC's own threads, a call
 * each; "callbacks" by reactors. Prints "ready" once it listens. When its input ends it prints what burning really cost by
 * the CPU clocks of the threads that did it:
 *     light REQUESTS CPU_NS
 *     heavy REQUESTS CPU_NS
 */
#include "burn.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/method_handler.h>
#include <grpcpp/impl/codegen/rpc_service_method.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <unistd.h>

using grpc::ByteBuffer;
using grpc::Status;

enum { HEAVY_UNITS = 10 };

static const std::string unary_methods[] = { "/test.Shop/Get", "/test.Shop/Last", "/test.Shop/Light", "/test.Shop/Heavy",
					     "/test.Shop/Fail" };
static uint64_t unit_steps;

struct Burnt {
	std::atomic<uint64_t> requests{ 0 }, cpu_ns{ 0 };

	void add(uint64_t began_ns)
	{
		requests++;
		cpu_ns += burn_clock_ns() - began_ns;
	}
};
static Burnt light, heavy;

static __attribute__((noinline)) void serve_light()
{
	uint64_t began_ns = burn_clock_ns();

	burn(unit_steps);
	light.add(began_ns);
}

static __attribute__((noinline)) void serve_heavy()
{
	uint64_t began_ns = burn_clock_ns();

	burn(HEAVY_UNITS * unit_steps);
	heavy.add(began_ns);
}

static ByteBuffer buffer_of(const std::string &text)
{
	grpc::Slice slice(text);

	return ByteBuffer(&slice, 1);
}

static int number_of(const ByteBuffer &buffer)
{
	grpc::Slice slice;

	if (!buffer.Valid() || !buffer.DumpToSingleSlice(&slice).ok())
		return 0;
	return atoi(std::string(reinterpret_cast<const char *>(slice.begin()), slice.size()).c_str());
}

/* What a method of one message does before it answers. */
static Status serve_one(const std::string &method, const ByteBuffer &request)
{
	int code = method == "/test.Shop/Fail" ? number_of(request) : 0;

	if (method == "/test.Shop/Light")
		serve_light();
	else if (method == "/test.Shop/Heavy")
		serve_heavy();
	return code ? Status(static_cast<grpc::StatusCode>(code), "as asked") : Status::OK;
}

/* --- threads --- */

class Shop : public grpc::Service {
public:
	Shop()
	{
		for (const std::string &method : unary_methods)
			add_unary(method.c_str());
		add("/test.Shop/List", grpc::internal::RpcMethod::SERVER_STREAMING,
		    new grpc::internal::ServerStreamingHandler<Shop, ByteBuffer, ByteBuffer>(
			    [](Shop *, grpc::ServerContext *, const ByteBuffer *request,
			       grpc::ServerWriter<ByteBuffer> *writer) {
				    for (int i = number_of(*request); i > 0; i--)
					    writer->Write(buffer_of("one of many"));
				    return Status::OK;
			    },
			    this));
		add("/test.Shop/Sum", grpc::internal::RpcMethod::CLIENT_STREAMING,
		    new grpc::internal::ClientStreamingHandler<Shop, ByteBuffer, ByteBuffer>(
			    [](Shop *, grpc::ServerContext *, grpc::ServerReader<ByteBuffer> *reader,
			       ByteBuffer *response) {
				    ByteBuffer message;
				    int count = 0;
				    while (reader->Read(&message))
					    count++;
				    *response = buffer_of(std::to_string(count));
				    return Status::OK;
			    },
			    this));
		add("/test.Shop/Talk", grpc::internal::RpcMethod::BIDI_STREAMING,
		    new grpc::internal::BidiStreamingHandler<Shop, ByteBuffer, ByteBuffer>(
			    [](Shop *, grpc::ServerContext *, grpc::ServerReaderWriter<ByteBuffer, ByteBuffer> *stream) {
				    ByteBuffer message;
				    while (stream->Read(&message))
					    stream->Write(message);
				    return Status::OK;
			    },
			    this));
	}

private:
	void add(const char *name, grpc::internal::RpcMethod::RpcType type, grpc::internal::MethodHandler *handler)
	{
		AddMethod(new grpc::internal::RpcServiceMethod(name, type, handler));
	}

	void add_unary(const char *name)
	{
		std::string method = name;
		add(name, grpc::internal::RpcMethod::NORMAL_RPC,
		    new grpc::internal::RpcMethodHandler<Shop, ByteBuffer, ByteBuffer>(
			    [method](Shop *, grpc::ServerContext *, const ByteBuffer *request, ByteBuffer *response) {
				    *response = *request;
				    return serve_one(method, *request);
			    },
			    this));
	}
};

/* --- callbacks --- */

/* One call; whatever its kind is, to gRPC it is one of both ways. */
class Call : public grpc::ServerGenericBidiReactor {
public:
	explicit Call(const std::string &method) : method_(method)
	{
		StartRead(&message_);
	}

	void OnReadDone(bool is_ok) override
	{
		if (method_ == "/test.Shop/Sum")
			on_part(is_ok);
		else if (!is_ok)
			Finish(Status::OK); /* what was asked for is answered */
		else if (method_ == "/test.Shop/Talk")
			StartWrite(&message_);
		else if (method_ == "/test.Shop/List")
			write_one_of(number_of(message_));
		else
			on_only();
	}

	void OnWriteDone(bool is_ok) override
	{
		if (!is_ok)
			Finish(Status::CANCELLED);
		else if (method_ == "/test.Shop/Talk")
			StartRead(&message_);
		else if (method_ == "/test.Shop/List")
			write_one_of(left_ - 1);
	}

	void OnDone() override
	{
		delete this;
	}

private:
	void on_part(bool is_ok)
	{
		if (is_ok) {
			left_++;
			StartRead(&message_);
			return;
		}
		message_ = buffer_of(std::to_string(left_));
		StartWriteAndFinish(&message_, grpc::WriteOptions(), Status::OK);
	}

	void on_only()
	{
		bool is_known = false;

		for (const std::string &name : unary_methods)
			is_known |= name == method_;
		Status status = is_known ? serve_one(method_, message_) : Status(grpc::StatusCode::UNIMPLEMENTED, "");
		if (status.ok())
			StartWriteAndFinish(&message_, grpc::WriteOptions(), status);
		else
			Finish(status);
	}

	void write_one_of(int left)
	{
		left_ = left;
		if (left_ <= 0) {
			Finish(Status::OK);
			return;
		}
		message_ = buffer_of("one of many");
		StartWrite(&message_);
	}

	std::string method_;
	ByteBuffer message_;
	int left_ = 0;
};

class AnyShop : public grpc::CallbackGenericService {
	grpc::ServerGenericBidiReactor *CreateReactor(grpc::GenericCallbackServerContext *context) override
	{
		return new Call(context->method());
	}
};

/* --- the server --- */

static std::string read_file(const char *path)
{
	std::ifstream file(path);
	std::stringstream text;

	text << file.rdbuf();
	return text.str();
}

static std::shared_ptr<grpc::ServerCredentials> credentials(const char *certificate, const char *key)
{
	grpc::SslServerCredentialsOptions options;

	options.pem_key_cert_pairs.push_back({ read_file(key), read_file(certificate) });
	return grpc::SslServerCredentials(options);
}

int main(int argc, char **argv)
{
	Shop shop;
	AnyShop any_shop;
	grpc::ServerBuilder builder;
	int port = 0;

	if (argc != 4 && argc != 6) {
		fprintf(stderr, "usage: grpc_server threads|callbacks PORT UNIT_US [CERTIFICATE KEY]\n");
		return 2;
	}
	unit_steps = burn_steps_per_us() * strtoull(argv[3], nullptr, 10);
	builder.AddListeningPort(std::string("127.0.0.1:") + argv[2],
				 argc == 6 ? credentials(argv[4], argv[5]) : grpc::InsecureServerCredentials(), &port);
	if (std::string(argv[1]) == "callbacks")
		builder.RegisterCallbackGenericService(&any_shop);
	else
		builder.RegisterService(&shop);
	std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
	if (!server || !port) {
		fprintf(stderr, "grpc_server: cannot listen on port %s\n", argv[2]);
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	for (char byte; read(STDIN_FILENO, &byte, 1) > 0;)
		;
	server->Shutdown();
	printf("light %llu %llu\n", (unsigned long long)light.requests, (unsigned long long)light.cpu_ns);
	printf("heavy %llu %llu\n", (unsigned long long)heavy.requests, (unsigned long long)heavy.cpu_ns);
	return 0;
}
