/* grpc_client - calls methods of grpc_server: grpc_client PORT CERTIFICATE|- CONCURRENCY COUNT {KIND METHOD MESSAGE}...
 *
 * KIND: unary, list (the server streams), sum (the client does), talk (both do), cancel (talks, and cancels instead of
 * ending), both (unary calls of METHODLight and METHODHeavy in turn). METHOD: "/test.Shop/Get". CONCURRENCY threads share
 * one connection and make COUNT calls of the first method, then of the second one, and so on. Streams of the client are
 * three messages long. After cancelled calls one more, /test.Shop/Last, makes sure that the server was told of them. Prints
 * for each method and status how many of its COUNT calls ended so, as gRPC told this client, and waits for the end of its
 * input:
 *     KIND METHOD CODE COUNT
 *     done
 */
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/rpc_method.h>
#include <grpcpp/impl/codegen/sync_stream.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using grpc::ByteBuffer;
using grpc::Status;
using grpc::internal::RpcMethod;

enum { CODES = 17, MESSAGES = 3 };

static std::atomic<uint64_t> ended[CODES];
static std::atomic<int64_t> left_calls;

struct Target {
	std::shared_ptr<grpc::Channel> channel;
	std::string kind, method, message;
};

static ByteBuffer buffer_of(const std::string &text)
{
	grpc::Slice slice(text);

	return ByteBuffer(&slice, 1);
}

static Status call_unary(const Target &target, grpc::ClientContext *context)
{
	static std::atomic<uint64_t> turn;
	std::string name = target.method;

	if (target.kind == "both")
		name += turn++ % 2 ? "Heavy" : "Light";
	RpcMethod method(name.c_str(), RpcMethod::NORMAL_RPC);
	ByteBuffer request = buffer_of(target.message), response;

	return grpc::internal::BlockingUnaryCall<ByteBuffer, ByteBuffer, ByteBuffer, ByteBuffer>(
		target.channel.get(), method, context, request, &response);
}

static Status call_list(const Target &target, grpc::ClientContext *context)
{
	RpcMethod method(target.method.c_str(), RpcMethod::SERVER_STREAMING);
	ByteBuffer request = buffer_of(target.message), response;
	std::unique_ptr<grpc::ClientReader<ByteBuffer>> reader(
		grpc::internal::ClientReaderFactory<ByteBuffer>::Create(target.channel.get(), method, context, request));

	while (reader->Read(&response))
		;
	return reader->Finish();
}

static Status call_sum(const Target &target, grpc::ClientContext *context)
{
	RpcMethod method(target.method.c_str(), RpcMethod::CLIENT_STREAMING);
	ByteBuffer response;
	std::unique_ptr<grpc::ClientWriter<ByteBuffer>> writer(
		grpc::internal::ClientWriterFactory<ByteBuffer>::Create(target.channel.get(), method, context, &response));

	for (int i = 0; i < MESSAGES; i++)
		writer->Write(buffer_of(target.message));
	writer->WritesDone();
	return writer->Finish();
}

static Status call_talk(const Target &target, grpc::ClientContext *context)
{
	RpcMethod method(target.method.c_str(), RpcMethod::BIDI_STREAMING);
	ByteBuffer response;
	std::unique_ptr<grpc::ClientReaderWriter<ByteBuffer, ByteBuffer>> stream(
		grpc::internal::ClientReaderWriterFactory<ByteBuffer, ByteBuffer>::Create(target.channel.get(), method,
											  context));

	for (int i = 0; i < MESSAGES; i++) {
		stream->Write(buffer_of(target.message));
		stream->Read(&response);
	}
	if (target.kind == "cancel")
		context->TryCancel();
	else
		stream->WritesDone();
	while (stream->Read(&response))
		;
	return stream->Finish();
}

static Status call(const Target &target)
{
	grpc::ClientContext context;

	if (target.kind == "list")
		return call_list(target, &context);
	if (target.kind == "sum")
		return call_sum(target, &context);
	if (target.kind == "talk" || target.kind == "cancel")
		return call_talk(target, &context);
	return call_unary(target, &context);
}

static void work(const Target &target)
{
	while (left_calls-- > 0)
		ended[call(target).error_code() % CODES]++;
}

static std::shared_ptr<grpc::ChannelCredentials> credentials(const char *certificate)
{
	std::ifstream file(certificate);
	std::stringstream text;
	grpc::SslCredentialsOptions options;

	text << file.rdbuf();
	options.pem_root_certs = text.str();
	return grpc::SslCredentials(options);
}

static void call_all(Target target, int concurrency, int64_t count)
{
	std::vector<std::thread> threads;

	left_calls = count;
	for (std::atomic<uint64_t> &number : ended)
		number = 0;
	for (int i = 0; i < concurrency; i++)
		threads.emplace_back(work, target);
	for (std::thread &thread : threads)
		thread.join();
	for (int code = 0; code < CODES; code++)
		if (ended[code])
			printf("%s %s %d %llu\n", target.kind.c_str(), target.method.c_str(), code,
			       (unsigned long long)ended[code]);
	if (target.kind == "cancel") {
		grpc::ClientContext context;
		target.method = "/test.Shop/Last";
		call_unary(target, &context);
	}
}

int main(int argc, char **argv)
{
	grpc::ChannelArguments arguments;
	std::shared_ptr<grpc::ChannelCredentials> how;

	if (argc < 8 || (argc - 5) % 3) {
		fprintf(stderr, "usage: grpc_client PORT CERTIFICATE|- CONCURRENCY COUNT {KIND METHOD MESSAGE}...\n");
		return 2;
	}
	how = std::string(argv[2]) == "-" ? grpc::InsecureChannelCredentials() : credentials(argv[2]);
	arguments.SetSslTargetNameOverride("localhost");
	auto channel = grpc::CreateCustomChannel(std::string("127.0.0.1:") + argv[1], how, arguments);
	for (int i = 5; i < argc; i += 3)
		call_all({ channel, argv[i], argv[i + 1], argv[i + 2] }, atoi(argv[3]), atoll(argv[4]));
	printf("done\n");
	fflush(stdout);
	for (char byte; read(STDIN_FILENO, &byte, 1) > 0;)
		;
	return 0;
}
