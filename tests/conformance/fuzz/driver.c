// libFuzzer around Python: `play` of the module PLAY runs an input, `mutate` and `cross` of MUTATOR make new ones.
//
// It gives Python a module `fuzzer` with what only C can do: libFuzzer's own mutations, and poisoned memory.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static PyObject *play, *mutate, *cross;

static PyObject *mutate_bytes(PyObject *module, PyObject *args) {
  Py_buffer given;
  if (!PyArg_ParseTuple(args, "y*", &given)) return NULL;
  size_t room = given.len * 2 + 16;
  uint8_t *copy = malloc(room);
  memcpy(copy, given.buf, given.len);
  size_t size = LLVMFuzzerMutate(copy, given.len, room);
  PyObject *result = PyBytes_FromStringAndSize((char *)copy, size);
  free(copy);
  PyBuffer_Release(&given);
  return result;
}

// Reading what lies behind the first `size` bytes of a buffer is an error until `unpoison`.
static PyObject *poison(PyObject *module, PyObject *args) {
  Py_buffer given;
  Py_ssize_t size;
  if (!PyArg_ParseTuple(args, "y*n", &given, &size)) return NULL;
  __asan_unpoison_memory_region(given.buf, given.len);
  __asan_poison_memory_region((char *)given.buf + size, given.len - size);
  PyBuffer_Release(&given);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"mutate", mutate_bytes, METH_VARARGS, ""}, {"poison", poison, METH_VARARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "fuzzer", NULL, -1, methods};

static PyObject *make_module(void) { return PyModule_Create(&definition); }

static void give_up(void) {
  PyErr_Print();
  abort();
}

static PyObject *find(const char *module_name, const char *name) {
  PyObject *module = PyImport_ImportModule(module_name);
  PyObject *found = module ? PyObject_GetAttrString(module, name) : NULL;
  if (!found) give_up();
  return found;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  // AddressSanitizer sees Python's objects when each is an allocation of its own.
  setenv("PYTHONMALLOC", "malloc", 1);
  setenv("PYTHONPATH", MODULES, 1);
  setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
  PyImport_AppendInittab("fuzzer", make_module);
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  PyConfig_SetBytesString(&config, &config.executable, PYTHON);
  PyConfig_SetBytesString(&config, &config.program_name, PYTHON);
  if (PyStatus_Exception(Py_InitializeFromConfig(&config))) abort();
  play = find(PLAY, "play");
  mutate = find(MUTATOR, "mutate");
  cross = find(MUTATOR, "cross");
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  PyObject *result = PyObject_CallFunction(play, "y#", data, (Py_ssize_t)size);
  if (!result) give_up();
  Py_DECREF(result);
  return 0;
}

static size_t copy_out(PyObject *result, uint8_t *data, size_t max_size) {
  if (!result) give_up();
  size_t size = PyBytes_GET_SIZE(result);
  size = size < max_size ? size : max_size;
  memcpy(data, PyBytes_AS_STRING(result), size);
  Py_DECREF(result);
  return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
  return copy_out(PyObject_CallFunction(mutate, "y#I", data, (Py_ssize_t)size, seed), data, max_size);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2, uint8_t *out,
                                 size_t max_size, unsigned int seed) {
  PyObject *result =
      PyObject_CallFunction(cross, "y#y#I", data1, (Py_ssize_t)size1, data2, (Py_ssize_t)size2, seed);
  return copy_out(result, out, max_size);
}
