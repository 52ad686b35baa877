/*
 * The program: QuickJS with as much of the language as the plugin uses, the bytecode of ../main.ts, and the global `native`:
 * `{host, exit(status)}`. Ends without giving back memory: the process ends.
 */
#define _GNU_SOURCE
#include "host.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The bytecode; scripts/build-cni.mjs makes it. */
extern const uint8_t plugin_bytecode[];
extern const uint32_t plugin_bytecode_size;
extern char **environ;

#define MAX_STACK_BYTES (4 << 20)

/* For JavaScript, of what the process has: deeply nested JSON is to be an error of the parser before it is a fault. */
static size_t stack_bytes(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur / 2 > MAX_STACK_BYTES) return MAX_STACK_BYTES;
  return limit.rlim_cur / 2;
}

/* To a runtime, every failure is one JSON document on the standard output. */
static const char NO_MEMORY[] = "{\"cniVersion\":\"1.1.0\",\"code\":5,\"msg\":\"the plugin has no memory left\"}\n";

static void write_error(JSContext *ctx, const char *message) {
  JSValue error = JS_NewObject(ctx);
  JS_SetPropertyStr(ctx, error, "cniVersion", JS_NewString(ctx, "1.1.0"));
  JS_SetPropertyStr(ctx, error, "code", JS_NewInt32(ctx, 5));
  JS_SetPropertyStr(ctx, error, "msg", JS_NewString(ctx, message));
  JSValue document = JS_JSONStringify(ctx, error, JS_UNDEFINED, JS_UNDEFINED);
  size_t length;
  const char *text = JS_IsException(document) ? NULL : JS_ToCStringLen(ctx, &length, document);
  if (text == NULL || !write_stdout(text, length) || !write_stdout("\n", 1)) {
    if (!has_written_stdout()) write_stdout(NO_MEMORY, sizeof NO_MEMORY - 1);
  }
}

static void write_line(const char *text) {
  const char *parts[] = {"kproxy-cni: ", text, "\n"};
  for (size_t index = 0; index < sizeof parts / sizeof *parts; index++) {
    if (write(STDERR_FILENO, parts[index], strlen(parts[index])) < 0) return; /* nobody listens */
  }
}

/* Whatever JavaScript threw that nobody caught. */
static void report_exception(JSContext *ctx) {
  JSValue exception = JS_GetException(ctx);
  const char *message = JS_ToCString(ctx, exception);
  if (message == NULL) message = "an error without words";
  write_line(message);
  JSValue stack = JS_IsObject(exception) ? JS_GetPropertyStr(ctx, exception, "stack") : JS_UNDEFINED;
  const char *trace = JS_IsString(stack) ? JS_ToCString(ctx, stack) : NULL;
  if (trace != NULL) write_line(trace);
  if (!has_written_stdout()) write_error(ctx, message);
}

static _Noreturn JSValue host_exit(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  int32_t status = 1;
  if (JS_ToInt32(ctx, &status, argv[0]) < 0) status = 1;
  _exit(status & 0xff);
}

/* Of a name that is there twice, getenv(3) knows the first. */
static JSValue make_environment(JSContext *ctx) {
  JSValue environment = JS_NewObjectProto(ctx, JS_NULL);
  for (char **entry = environ; *entry != NULL; entry++) {
    const char *equals = strchr(*entry, '=');
    if (equals == NULL) continue;
    JSValue key = JS_NewStringLen(ctx, *entry, (size_t)(equals - *entry));
    JSAtom name = JS_ValueToAtom(ctx, key);
    JS_FreeValue(ctx, key);
    if (JS_GetOwnProperty(ctx, NULL, environment, name) == 0)
      JS_DefinePropertyValue(ctx, environment, name, JS_NewString(ctx, equals + 1), JS_PROP_C_W_E);
    JS_FreeAtom(ctx, name);
  }
  return environment;
}

/* Of linux/capability.h, which musl hasn't. */
#define CAPABILITY_VERSION_3 0x20080522
#define CAP_NET_ADMIN 12

/* capget(2). A kernel that doesn't tell will refuse by itself. */
static bool can_administer(void) {
  struct { uint32_t version; int pid; } header = {.version = CAPABILITY_VERSION_3};
  struct { uint32_t effective, permitted, inheritable; } data[2] = {0};
  return syscall(SYS_capget, &header, data) < 0 || (data[0].effective & 1u << CAP_NET_ADMIN) != 0;
}

static JSValue make_host(JSContext *ctx, const char *program) {
  static const struct {
    const char *name;
    HostFunction *function;
    int parameters;
  } functions[] = {
    {"readStdin", host_read_stdin, 1},         {"writeStdout", host_write_stdout, 1},
    {"writeStderr", host_write_stderr, 1},     {"exchange", host_exchange, 3},
    {"netnsIdentity", host_netns_identity, 1}, {"isExecutable", host_is_executable, 1},
    {"execute", host_execute, 4},              {"writeDurably", host_write_durably, 3},
    {"loopback", host_loopback, 2},            {"isEnding", host_is_ending, 0},
    {"shield", host_shield, 0},
  };
  JSValue host = JS_NewObject(ctx);
  for (size_t index = 0; index < sizeof functions / sizeof *functions; index++) {
    const char *name = functions[index].name;
    JSValue function = JS_NewCFunction(ctx, functions[index].function, name, functions[index].parameters);
    JS_SetPropertyStr(ctx, host, name, function);
  }
  JS_SetPropertyStr(ctx, host, "environment", make_environment(ctx));
  JS_SetPropertyStr(ctx, host, "program", JS_NewString(ctx, program));
  JS_SetPropertyStr(ctx, host, "pid", JS_NewInt32(ctx, getpid()));
  JS_SetPropertyStr(ctx, host, "uid", JS_NewInt64(ctx, geteuid()));
  JS_SetPropertyStr(ctx, host, "canAdminister", JS_NewBool(ctx, can_administer()));
  return host;
}

static JSContext *make_context(const char *program) {
  JSRuntime *runtime = JS_NewRuntime();
  if (runtime == NULL) return NULL;
  JS_SetMaxStackSize(runtime, stack_bytes());
  JS_SetGCThreshold(runtime, (size_t)-1); /* cycles live as long as the process */
  JSContext *ctx = JS_NewContextRaw(runtime);
  if (ctx == NULL) return NULL;
  if (JS_AddIntrinsicBaseObjects(ctx) < 0 || JS_AddIntrinsicRegExp(ctx) < 0 || JS_AddIntrinsicJSON(ctx) < 0 ||
      JS_AddIntrinsicMapSet(ctx) < 0 || JS_AddIntrinsicDate(ctx) < 0 || JS_AddIntrinsicTypedArrays(ctx) < 0)
    return NULL;
  JS_AddIntrinsicRegExpCompiler(ctx);
  JSValue native = JS_NewObject(ctx);
  JS_SetPropertyStr(ctx, native, "host", make_host(ctx, program));
  JS_SetPropertyStr(ctx, native, "exit", JS_NewCFunction(ctx, host_exit, "exit", 1));
  JSValue global = JS_GetGlobalObject(ctx);
  bool is_set = JS_SetPropertyStr(ctx, global, "native", native) >= 0;
  JS_FreeValue(ctx, global);
  return is_set ? ctx : NULL;
}

/*
 * A standard descriptor that is closed would be given to the next file that we open. The one that is opened in its place fails like a closed
 * one: the wrong way round.
 */
static void take_standard_descriptors(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

int main(int argc, char **argv) {
  take_standard_descriptors();
  handle_signals();
  JSContext *ctx = make_context(argc > 0 ? argv[0] : "");
  if (ctx == NULL) {
    write_stdout(NO_MEMORY, sizeof NO_MEMORY - 1);
    return 1;
  }
  JSValue program = JS_ReadObject(ctx, plugin_bytecode, plugin_bytecode_size, JS_READ_OBJ_BYTECODE | JS_READ_OBJ_ROM_DATA);
  JSValue result = JS_IsException(program) ? program : JS_EvalFunction(ctx, program);
  /* main.ts exits; whoever comes here has thrown. */
  if (JS_IsException(result)) report_exception(ctx);
  else write_line("the program ended without a status");
  _exit(1);
}
