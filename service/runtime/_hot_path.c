/* What a small POST /forecast costs most in Python, in C: reading it, filling a batch, writing its answer, and what its
   key is charged; and the reading of the numbers of a large one.

   Requests are read in their simplest form only, and what is of any other gives None: the Python code, which reads all
   forms, then takes the whole request. A doubt is always settled by None, and so nothing here words an error of a
   request. tests/service/runtime compares each function with its Python on what hypothesis makes up.

   No function reads or writes outside of the buffers that it is given, or keeps a reference to them. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define MAX_HEAD 2048   /* bytes of a head that is looked for, as service/server/known_heads.py has it */
#define MAX_LENGTH_DIGITS 6
#define MAX_VALUES 2048 /* of a series */
#define MAX_LEVELS 99   /* quantile levels of a request, as ForecastParameters has it */
#define MAX_NAME 256    /* characters of a model's name and of an id, as RequestedModel and ItemId have it */
#define MAX_STEPS 1000000

static PyObject *wrong_arguments(const char *text)
{
    PyErr_SetString(PyExc_TypeError, text);
    return NULL;
}

/* --- JSON ------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *at, *end; /* the next byte, and the one behind the last */
} Text;

static void skip_space(Text *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\n' || *text->at == '\r' || *text->at == '\t'))
        text->at++;
}

/* Whether `mark` comes next, behind white space; it is passed then. */
static int take(Text *text, char mark)
{
    skip_space(text);
    if (text->at == text->end || *text->at != mark)
        return 0;
    text->at++;
    return 1;
}

static int is_digit(const Text *text)
{
    return text->at < text->end && *text->at >= '0' && *text->at <= '9';
}

/* A string of plain ASCII without escapes, as a part of the text; whether one came. */
static int take_string(Text *text, const char **first, Py_ssize_t *length)
{
    if (!take(text, '"'))
        return 0;
    *first = text->at;
    for (; text->at < text->end; text->at++) {
        unsigned char byte = (unsigned char)*text->at;
        if (byte == '"') {
            *length = text->at++ - *first;
            return 1;
        }
        if (byte < 0x20 || byte > 0x7e || byte == '\\')
            return 0;
    }
    return 0;
}

static int is_name(const char *first, Py_ssize_t length, const char *name)
{
    return (size_t)length == strlen(name) && memcmp(first, name, (size_t)length) == 0;
}

#ifdef __SIZEOF_INT128__

static const uint64_t POWERS_OF_TEN[20] = {
    1ULL, 10ULL, 100ULL, 1000ULL, 10000ULL, 100000ULL, 1000000ULL, 10000000ULL, 100000000ULL, 1000000000ULL,
    10000000000ULL, 100000000000ULL, 1000000000000ULL, 10000000000000ULL, 100000000000000ULL, 1000000000000000ULL,
    10000000000000000ULL, 100000000000000000ULL, 1000000000000000000ULL, 10000000000000000000ULL};

/* `digits` / 10^`places`, rounded to the nearest double, halves to even; both at most 19 digits, so that none of the
   numbers is near the smallest or the largest double. */
static double quotient(uint64_t digits, int places)
{
    uint64_t divisor = POWERS_OF_TEN[places], bits, rest, half;
    int shift_digits, shift_divisor, excess;
    unsigned __int128 dividend;

    if (digits < (1ULL << 53) && places <= 19 && divisor < (1ULL << 53))
        return (double)digits / (double)divisor; /* both are exact, and IEEE division rounds once */
    if (places == 0)
        return (double)digits;
    shift_digits = __builtin_clzll(digits);
    shift_divisor = __builtin_clzll(divisor);
    divisor <<= shift_divisor;
    dividend = (unsigned __int128)(digits << shift_digits) << 63;
    bits = (uint64_t)(dividend / divisor); /* both factors are in [2^63, 2^64), so this is in (2^62, 2^64) */
    rest = (uint64_t)(dividend % divisor);
    excess = 11 - __builtin_clzll(bits);
    half = 1ULL << (excess - 1);
    rest |= bits & (half - 1);
    bits >>= excess - 1; /* 53 bits and the one behind them */
    bits = (bits >> 1) + ((bits & 1) && (rest || (bits & 2)));
    return ldexp((double)bits, excess - 63 - shift_digits + shift_divisor);
}

#endif

/* Pass over the digits that come; whether there were any. */
static int skip_digits(Text *text)
{
    const char *first = text->at;

    while (is_digit(text))
        text->at++;
    return text->at > first;
}

/* Pass over digits, and put them behind those of `number` and count them in `count`; how many there are. A number of more
   than 19 digits may not fit, and is of no use. */
static Py_ssize_t take_digits(Text *text, uint64_t *number, Py_ssize_t *count)
{
    const char *first = text->at, *end = text->end, *at = first;
    uint64_t digits = *number;

    for (; at < end && (unsigned char)(*at - '0') < 10; at++)
        digits = 10 * digits + (uint64_t)(*at - '0');
    *count += at - first;
    *number = digits;
    text->at = at;
    return at - first;
}

/* A finite number; whether one came. Zero with a sign is none: whether it keeps it is the decoder's affair. */
static int take_number(Text *text, double *number)
{
    const char *first;
    char *stop;
    uint64_t digits = 0;
    Py_ssize_t count = 0, places = 0;

    skip_space(text);
    first = text->at;
    if (text->at < text->end && *text->at == '-')
        text->at++;
    if (text->at < text->end && *text->at == '0')
        text->at++;
    else if (!take_digits(text, &digits, &count))
        return 0;
    if (text->at < text->end && *text->at == '.') {
        text->at++;
        places = take_digits(text, &digits, &count);
        if (!places)
            return 0;
    }
    if (text->at < text->end && (*text->at == 'e' || *text->at == 'E')) {
        count = 20; /* neither this nor more digits than 19 are converted here */
        text->at++;
        if (text->at < text->end && (*text->at == '+' || *text->at == '-'))
            text->at++;
        if (!skip_digits(text))
            return 0;
    }
#ifdef __SIZEOF_INT128__
    if (count <= 19 && digits != 0) {
        *number = *first == '-' ? -quotient(digits, (int)places) : quotient(digits, (int)places);
        return 1;
    }
#endif
    *number = PyOS_string_to_double(first, &stop, NULL); /* rounds correctly, too, and stops at the latest at a zero byte */
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return stop == text->at && isfinite(*number) && !(*number == 0.0 && *first == '-');
}

static int take_null(Text *text)
{
    skip_space(text);
    if (text->end - text->at < 4 || memcmp(text->at, "null", 4) != 0)
        return 0;
    text->at += 4;
    return 1;
}

/* A list of at most `most` numbers; how many, -1 where there is no such list. Where nulls are allowed they become NaN,
   and `nulls` counts them. */
static Py_ssize_t take_numbers(Text *text, double *numbers, Py_ssize_t most, Py_ssize_t *nulls)
{
    Py_ssize_t count = 0;

    if (!take(text, '['))
        return -1;
    if (take(text, ']'))
        return 0;
    do {
        if (count == most)
            return -1;
        if (nulls != NULL && take_null(text)) {
            numbers[count] = Py_NAN;
            ++*nulls;
        } else if (!take_number(text, &numbers[count])) {
            return -1;
        }
        count++;
    } while (take(text, ','));
    return take(text, ']') ? count : -1;
}

PyDoc_STRVAR(read_numbers_doc,
"read_numbers(text, /)\n--\n\n"
"The list of numbers and nulls in the JSON `text`: (the numbers as float64 in bytes, with NaN for a null, how many are\n"
"null); None where it is no such list, or not of the simplest form.");

static PyObject *read_numbers(PyObject *module, PyObject *argument)
{
    double few[MAX_VALUES], *numbers = few;
    PyObject *values = NULL, *answer = NULL;
    Py_ssize_t most = MAX_VALUES, nulls = 0, i, count = -1;
    Py_buffer buffer;
    Text text;

    (void)module;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    text.at = buffer.buf;
    text.end = text.at + buffer.len;
    if (buffer.len > 2 * MAX_VALUES) { /* a number and its comma take two bytes */
        for (most = 1, i = 0; i < buffer.len; i++)
            most += text.at[i] == ',';
        values = PyBytes_FromStringAndSize(NULL, most * (Py_ssize_t)sizeof(double));
        numbers = values == NULL ? NULL : (double *)PyBytes_AS_STRING(values);
    }
    if (numbers != NULL && buffer.len > 0 && text.end[-1] == ']') /* no number is looked for behind the bracket */
        count = take_numbers(&text, numbers, most, &nulls);
    if (count < 0 || text.at != text.end)
        answer = PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    else if (values == NULL)
        answer = Py_BuildValue("(y#n)", (const char *)few, count * (Py_ssize_t)sizeof(double), nulls);
    else if (count == most || _PyBytes_Resize(&values, count * (Py_ssize_t)sizeof(double)) == 0)
        answer = Py_BuildValue("(On)", values, nulls);
    Py_XDECREF(values);
    PyBuffer_Release(&buffer);
    return answer;
}

/* --- a request ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *model, *item_id; /* NULL: there is none */
    Py_ssize_t model_length, id_length, n_values, n_missing, n_levels; /* n_levels: -1 where none are stated */
    long steps;
    double values[MAX_VALUES], levels[MAX_LEVELS];
} Request;

static int take_steps(Text *text, long *steps)
{
    skip_space(text);
    if (!is_digit(text) || *text->at == '0')
        return 0;
    for (*steps = 0; is_digit(text); text->at++) {
        *steps = 10 * *steps + (*text->at - '0');
        if (*steps > MAX_STEPS)
            return 0;
    }
    return text->at < text->end && *text->at != '.' && *text->at != 'e' && *text->at != 'E';
}

static int take_parameters(Text *text, Request *request)
{
    const char *name;
    Py_ssize_t length, i;
    int has_steps = 0;

    if (!take(text, '{'))
        return 0;
    if (take(text, '}'))
        return 1;
    do {
        if (!take_string(text, &name, &length) || !take(text, ':'))
            return 0;
        if (is_name(name, length, "prediction_length") && !has_steps) {
            has_steps = 1;
            if (!take_steps(text, &request->steps))
                return 0;
        } else if (is_name(name, length, "quantile_levels") && request->n_levels < 0) {
            request->n_levels = take_numbers(text, request->levels, MAX_LEVELS, NULL);
            if (request->n_levels < 0)
                return 0;
            for (i = 0; i < request->n_levels; i++)
                if (!(request->levels[i] > 0.0 && request->levels[i] < 1.0))
                    return 0;
        } else {
            return 0;
        }
    } while (take(text, ','));
    return take(text, '}');
}

/* [{"target": [...], "item_id": "..."}]: one series, with a value that is not missing, and nothing else but its id. */
static int take_inputs(Text *text, Request *request)
{
    const char *name;
    Py_ssize_t length;
    int has_id = 0;

    if (!take(text, '[') || !take(text, '{'))
        return 0;
    do {
        if (!take_string(text, &name, &length) || !take(text, ':'))
            return 0;
        if (is_name(name, length, "target") && !request->n_values) {
            request->n_values = take_numbers(text, request->values, MAX_VALUES, &request->n_missing);
            if (request->n_values <= request->n_missing)
                return 0;
        } else if (is_name(name, length, "item_id") && !has_id) {
            has_id = 1;
            if (!take_null(text)
                && (!take_string(text, &request->item_id, &request->id_length) || request->id_length > MAX_NAME))
                return 0;
        } else {
            return 0;
        }
    } while (take(text, ','));
    return request->n_values > 0 && take(text, '}') && take(text, ']');
}

static int take_request(Text *text, Request *request)
{
    const char *name;
    Py_ssize_t length;
    int has_parameters = 0;

    request->model = request->item_id = NULL;
    request->model_length = request->id_length = request->n_values = request->n_missing = 0;
    request->n_levels = -1;
    request->steps = 1;
    if (!take(text, '{'))
        return 0;
    do {
        if (!take_string(text, &name, &length) || !take(text, ':'))
            return 0;
        if (is_name(name, length, "inputs") && !request->n_values) {
            if (!take_inputs(text, request))
                return 0;
        } else if (is_name(name, length, "model") && request->model == NULL) {
            if (!take_string(text, &request->model, &request->model_length) || request->model_length > MAX_NAME)
                return 0;
        } else if (is_name(name, length, "parameters") && !has_parameters) {
            has_parameters = 1;
            if (!take_parameters(text, request))
                return 0;
        } else {
            return 0;
        }
    } while (take(text, ','));
    if (!take(text, '}') || !request->n_values)
        return 0;
    skip_space(text);
    return text->at == text->end;
}

PyDoc_STRVAR(read_request_doc,
"read_request(data, start, /)\n--\n\n"
"The request for a forecast in the JSON that begins at `start` of the bytes `data`: (name of the model or None, values\n"
"as float64 in bytes, how many of them are missing, id or None, steps ahead, quantile levels in a tuple or None); None\n"
"where it is not of the simplest form.");

static PyObject *read_request(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Request request;
    Text text;
    Py_ssize_t start, i;
    PyObject *levels;

    (void)module;
    if (count != 2 || !PyBytes_CheckExact(arguments[0]))
        return wrong_arguments("read_request takes bytes and a position");
    start = PyLong_AsSsize_t(arguments[1]);
    if (start == -1 && PyErr_Occurred())
        return NULL;
    if (start < 0 || start > PyBytes_GET_SIZE(arguments[0]))
        Py_RETURN_NONE;
    text.at = PyBytes_AS_STRING(arguments[0]) + start;
    text.end = PyBytes_AS_STRING(arguments[0]) + PyBytes_GET_SIZE(arguments[0]);
    if (!take_request(&text, &request))
        Py_RETURN_NONE;
    if (request.n_levels < 0) {
        levels = Py_NewRef(Py_None);
    } else {
        levels = PyTuple_New(request.n_levels);
        for (i = 0; levels != NULL && i < request.n_levels; i++) {
            PyObject *level = PyFloat_FromDouble(request.levels[i]);
            if (level == NULL)
                Py_CLEAR(levels);
            else
                PyTuple_SET_ITEM(levels, i, level);
        }
    }
    if (levels == NULL)
        return NULL;
    return Py_BuildValue("(z#y#nz#lN)", request.model, request.model_length, (const char *)request.values,
                         request.n_values * (Py_ssize_t)sizeof(double), request.n_missing, request.item_id,
                         request.id_length, request.steps, levels);
}

/* --- the head of a request ------------------------------------------------------------------------------------------ */

static const char END[] = "\r\n\r\n";
static const char LENGTH_FIELDS[2][19] = {"\r\nContent-Length: ", "\r\ncontent-length: "};
#define FIELD_SIZE 18

/* Where `part` begins in the `size` bytes at `data`, NULL where it is not among them. */
static const char *find(const char *data, Py_ssize_t size, const char *part, Py_ssize_t part_size)
{
    const char *last = data + size - part_size, *at = data;

    while (at <= last && (at = memchr(at, part[0], (size_t)(last - at + 1))) != NULL) {
        if (memcmp(at, part, (size_t)part_size) == 0)
            return at;
        at++;
    }
    return NULL;
}

PyDoc_STRVAR(find_head_doc,
"find_head(data, heads, /)\n--\n\n"
"See `service.server.known_heads.KnownHeads.find`; `heads` are those that are known, each by its bytes without the\n"
"digits of the length.");

static PyObject *find_head(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    const char *data, *end, *digits, *stop, *at;
    Py_ssize_t size, body_size = 0;
    PyObject *key, *head;

    (void)module;
    if (count != 2 || !PyBytes_CheckExact(arguments[0]) || !PyDict_CheckExact(arguments[1]))
        return wrong_arguments("find_head takes bytes and a dictionary");
    data = PyBytes_AS_STRING(arguments[0]);
    size = PyBytes_GET_SIZE(arguments[0]);
    end = find(data, size < MAX_HEAD ? size : MAX_HEAD, END, 4);
    if (end == NULL)
        Py_RETURN_NONE;
    end += 4;
    digits = find(data, end - data, LENGTH_FIELDS[0], FIELD_SIZE);
    if (digits == NULL)
        digits = find(data, end - data, LENGTH_FIELDS[1], FIELD_SIZE);
    if (digits == NULL)
        Py_RETURN_NONE;
    digits += FIELD_SIZE;
    stop = memchr(digits, '\r', (size_t)(end - digits)); /* there is one: the head ends with it */
    if (stop == NULL || stop == digits || stop - digits > MAX_LENGTH_DIGITS)
        Py_RETURN_NONE;
    for (at = digits; at < stop; at++) {
        if (*at < '0' || *at > '9')
            Py_RETURN_NONE;
        body_size = 10 * body_size + (*at - '0');
    }
    if (body_size != data + size - end)
        Py_RETURN_NONE;
    key = PyBytes_FromStringAndSize(NULL, (digits - data) + (end - stop));
    if (key == NULL)
        return NULL;
    memcpy(PyBytes_AS_STRING(key), data, (size_t)(digits - data));
    memcpy(PyBytes_AS_STRING(key) + (digits - data), stop, (size_t)(end - stop));
    head = PyDict_GetItemWithError(arguments[1], key);
    Py_DECREF(key);
    if (head == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(Oy#n)", head, digits, stop - digits, end - data);
}

/* --- a batch -------------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(fill_rows_doc,
"fill_rows(sequences, dense, counts, /)\n--\n\n"
"Copy `sequences`, a list of arrays (T_i, ...), to the beginnings of the rows of `dense` (R, T, ...), which is zero, and\n"
"their lengths to `counts` (R,) of int64; the other rows become copies of the last one that was filled.");

static int fill(PyObject *sequences, const Py_buffer *dense, int64_t *counts)
{
    Py_ssize_t filled = PyList_GET_SIZE(sequences), rows = dense->shape[0], row_size, unit, row;
    char *at = dense->buf;

    row_size = dense->len / rows;
    unit = row_size / dense->shape[1];
    for (row = 0; row < filled; row++) {
        Py_buffer sequence;
        int fits;
        if (PyObject_GetBuffer(PyList_GET_ITEM(sequences, row), &sequence, PyBUF_CONTIG_RO) < 0)
            return -1;
        fits = sequence.itemsize == dense->itemsize && sequence.len <= row_size && sequence.len % unit == 0;
        if (fits) {
            memcpy(at + row * row_size, sequence.buf, (size_t)sequence.len);
            counts[row] = sequence.len / unit;
        }
        PyBuffer_Release(&sequence);
        if (!fits) {
            PyErr_SetString(PyExc_ValueError, "a sequence does not fit its row");
            return -1;
        }
    }
    for (; row < rows; row++) {
        memcpy(at + row * row_size, at + (filled - 1) * row_size, (size_t)row_size);
        counts[row] = counts[filled - 1];
    }
    return 0;
}

static PyObject *fill_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer dense, counts;
    Py_ssize_t filled;
    int result = -1;

    (void)module;
    if (count != 3 || !PyList_CheckExact(arguments[0]))
        return wrong_arguments("fill_rows takes a list of arrays and two arrays");
    if (PyObject_GetBuffer(arguments[1], &dense, PyBUF_CONTIG) < 0)
        return NULL;
    if (PyObject_GetBuffer(arguments[2], &counts, PyBUF_CONTIG) < 0) {
        PyBuffer_Release(&dense);
        return NULL;
    }
    filled = PyList_GET_SIZE(arguments[0]);
    if (dense.ndim < 2 || dense.len == 0 || counts.itemsize != 8 || counts.len != 8 * dense.shape[0] || filled < 1
        || filled > dense.shape[0])
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit the sequences");
    else
        result = fill(arguments[0], &dense, counts.buf);
    PyBuffer_Release(&counts);
    PyBuffer_Release(&dense);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

#define MAX_BOUNDS 64 /* as many as there are buckets of lengths, and one */

PyDoc_STRVAR(cheapest_cuts_doc,
"cheapest_cuts(bounds, steps, max_rows, rows_for, call_cost, step_cost, /)\n--\n\n"
"See `service.backend.buckets.ShapeBuckets`: those of `bounds` between which the rows cost least.\n"
"`steps` and `max_rows` (int64) are those of the rows up to each bound, `rows_for` the buckets of rows.");

static PyObject *cheapest_cuts_of(const Py_buffer *buffers, double call_cost, double step_cost)
{
    const int64_t *bounds = buffers[0].buf, *steps = buffers[1].buf, *max_rows = buffers[2].buf,
                  *rows_for = buffers[3].buf;
    Py_ssize_t n_bounds = buffers[0].len / 8, n_rows = buffers[3].len / 8, end, begin;
    double costs[MAX_BOUNDS] = {0.0};
    Py_ssize_t last_begins[MAX_BOUNDS] = {0};
    PyObject *chosen, *bound;

    for (end = 1; end < n_bounds; end++) {
        double call = call_cost + step_cost * (double)steps[end];
        costs[end] = HUGE_VAL;
        for (begin = 0; begin < end; begin++) {
            int64_t count = bounds[end] - bounds[begin], full, rest;
            double cost;
            if (count < 0 || max_rows[end] < 1 || count % max_rows[end] >= n_rows) {
                PyErr_SetString(PyExc_ValueError, "these are no bounds of rows");
                return NULL;
            }
            full = count / max_rows[end];
            rest = count % max_rows[end];
            cost = costs[begin]
                   + ((double)(full + (rest > 0)) * call
                      + (double)((full * max_rows[end] + rows_for[rest]) * steps[end]));
            if (cost < costs[end]) {
                costs[end] = cost;
                last_begins[end] = begin;
            }
        }
    }
    chosen = PyList_New(0);
    for (end = n_bounds - 1; chosen != NULL; end = last_begins[end]) {
        bound = PyLong_FromLongLong(bounds[end]);
        if (bound == NULL || PyList_Append(chosen, bound) < 0)
            Py_CLEAR(chosen);
        Py_XDECREF(bound);
        if (end == 0)
            break;
    }
    if (chosen != NULL && PyList_Reverse(chosen) < 0)
        Py_CLEAR(chosen);
    return chosen;
}

static PyObject *cheapest_cuts(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer buffers[4];
    PyObject *cuts = NULL;
    double call_cost, step_cost;
    int held, are_fit = 1;

    (void)module;
    if (count != 6)
        return wrong_arguments("cheapest_cuts takes four arrays and two numbers");
    call_cost = PyFloat_AsDouble(arguments[4]);
    step_cost = PyFloat_AsDouble(arguments[5]);
    if (PyErr_Occurred())
        return NULL;
    for (held = 0; held < 4; held++) {
        if (PyObject_GetBuffer(arguments[held], &buffers[held], PyBUF_CONTIG_RO) < 0)
            break;
        are_fit = are_fit && buffers[held].itemsize == 8 && (held == 3 || buffers[held].len == buffers[0].len);
    }
    if (held == 4) {
        if (!are_fit || buffers[0].len < 8 || buffers[0].len > 8 * MAX_BOUNDS)
            PyErr_SetString(PyExc_ValueError, "the arrays do not fit one another");
        else
            cuts = cheapest_cuts_of(buffers, call_cost, step_cost);
    }
    while (held > 0)
        PyBuffer_Release(&buffers[--held]);
    return cuts;
}

/* --- an answer ------------------------------------------------------------------------------------------------------ */

#define MAX_PIECES (MAX_LEVELS + 8)
#define MAX_PARTS (2 * MAX_PIECES + 2) /* a number behind each piece, and the marks around an id */

/* Parts of bytes that are put together; their lengths are added up as they come. */
typedef struct {
    const char *first[MAX_PARTS];
    Py_ssize_t length[MAX_PARTS], count, size;
} Parts;

static void add(Parts *parts, const char *first, Py_ssize_t length)
{
    parts->first[parts->count] = first;
    parts->length[parts->count++] = length;
    parts->size += length;
}

static char *copy(const Parts *parts, char *to)
{
    Py_ssize_t i;

    for (i = 0; i < parts->count; i++) {
        memcpy(to, parts->first[i], (size_t)parts->length[i]);
        to += parts->length[i];
    }
    return to;
}

PyDoc_STRVAR(write_answer_doc,
"write_answer(head, pieces, item_id, numbers, n_values, n_missing, season, queue_ms, compute_ms, request_id, /)\n--\n\n"
"An answer of status 200 with its head: `head` up to the time in the queue, and the `pieces` of text of the body between\n"
"the id, the rows of `numbers`, b'[[...],[...]]', then `n_values`, `n_missing`, `n_values` again and `season`. None where\n"
"these do not fit together. An id has nothing that JSON would escape; further lines of the head may follow that of the\n"
"request.");

static PyObject *write_answer(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Parts body = {.count = 0, .size = 0};
    PyObject *answer = NULL, *pieces;
    const char *row, *end, *stop, *name, *item_id = NULL;
    char numbers[3][24], size[24], *queue = NULL, *compute = NULL, *to;
    Py_ssize_t i, n_pieces, name_length, id_length = 0;
    double queue_ms, compute_ms;
    Parts head = {.count = 0, .size = 0};

    (void)module;
    if (count != 10 || !PyBytes_CheckExact(arguments[0]) || !PyTuple_CheckExact(arguments[1])
        || !(arguments[2] == Py_None || PyUnicode_CheckExact(arguments[2])) || !PyBytes_CheckExact(arguments[3])
        || !PyUnicode_CheckExact(arguments[9]))
        return wrong_arguments("write_answer takes bytes, a tuple, an id, bytes, five numbers and a string");
    for (i = 0; i < 3; i++)
        PyOS_snprintf(numbers[i], sizeof numbers[i], "%lld", PyLong_AsLongLong(arguments[4 + i]));
    queue_ms = PyFloat_AsDouble(arguments[7]);
    compute_ms = PyFloat_AsDouble(arguments[8]);
    if (PyErr_Occurred() || (name = PyUnicode_AsUTF8AndSize(arguments[9], &name_length)) == NULL)
        return NULL;
    if (arguments[2] != Py_None && (item_id = PyUnicode_AsUTF8AndSize(arguments[2], &id_length)) == NULL)
        return NULL;
    pieces = arguments[1];
    n_pieces = PyTuple_GET_SIZE(pieces);
    for (i = 0; i < n_pieces; i++)
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(pieces, i)))
            return wrong_arguments("a piece is bytes");
    if (n_pieces < 7 || n_pieces > MAX_PIECES)
        Py_RETURN_NONE;
#define PIECE(i) PyBytes_AS_STRING(PyTuple_GET_ITEM(pieces, i)), PyBytes_GET_SIZE(PyTuple_GET_ITEM(pieces, i))
    add(&body, PIECE(0));
    if (item_id == NULL) {
        add(&body, "null", 4);
    } else {
        add(&body, "\"", 1);
        add(&body, item_id, id_length);
        add(&body, "\"", 1);
    }
    row = PyBytes_AS_STRING(arguments[3]);
    end = row + PyBytes_GET_SIZE(arguments[3]) - 1; /* at the last bracket */
    for (i = 1; i < n_pieces - 5; i++) {
        row++; /* a bracket or a comma before the row */
        stop = row < end ? memchr(row, ']', (size_t)(end - row)) : NULL;
        if (stop == NULL)
            Py_RETURN_NONE;
        add(&body, PIECE(i));
        add(&body, row, stop + 1 - row);
        row = stop + 1;
    }
    if (row != end)
        Py_RETURN_NONE;
    add(&body, PIECE(i));
    add(&body, numbers[0], (Py_ssize_t)strlen(numbers[0]));
    add(&body, PIECE(i + 1));
    add(&body, numbers[1], (Py_ssize_t)strlen(numbers[1]));
    add(&body, PIECE(i + 2));
    add(&body, numbers[0], (Py_ssize_t)strlen(numbers[0]));
    add(&body, PIECE(i + 3));
    add(&body, numbers[2], (Py_ssize_t)strlen(numbers[2]));
    add(&body, PIECE(i + 4));
#undef PIECE
    queue = PyOS_double_to_string(queue_ms, 'f', 3, 0, NULL);
    compute = PyOS_double_to_string(compute_ms, 'f', 3, 0, NULL);
    if (queue != NULL && compute != NULL) {
        static const char between[] = ", compute;dur=", length[] = "\r\ncontent-length: ", id[] = "\r\nx-request-id: ";
        PyOS_snprintf(size, sizeof size, "%zd", body.size);
        add(&head, PyBytes_AS_STRING(arguments[0]), PyBytes_GET_SIZE(arguments[0]));
        add(&head, queue, (Py_ssize_t)strlen(queue));
        add(&head, between, sizeof between - 1);
        add(&head, compute, (Py_ssize_t)strlen(compute));
        add(&head, length, sizeof length - 1);
        add(&head, size, (Py_ssize_t)strlen(size));
        add(&head, id, sizeof id - 1);
        add(&head, name, name_length);
        add(&head, END, 4);
        answer = PyBytes_FromStringAndSize(NULL, head.size + body.size);
        if (answer != NULL) {
            to = copy(&head, PyBytes_AS_STRING(answer));
            copy(&body, to);
        }
    }
    PyMem_Free(queue);
    PyMem_Free(compute);
    return answer;
}

/* --- what keys may still use ---------------------------------------------------------------------------------------- */

#define ROUNDING 1e-9 /* seconds, as in service/runtime/allowances.py */
#define MAX_TEXT 1024

/* The numbers of `buckets`, to be changed; whether they are float64, and enough for those from `first` on. */
static int get_buckets(PyObject *buckets, Py_ssize_t first, Py_buffer *view)
{
    if (PyObject_GetBuffer(buckets, view, PyBUF_CONTIG) != 0)
        return 0;
    if (view->itemsize == (Py_ssize_t)sizeof(double) && first >= 0)
        return 1;
    PyBuffer_Release(view);
    wrong_arguments("buckets are float64, from a position on");
    return 0;
}

typedef struct {
    double *full_at; /* the bucket's number: when it is full again */
    double amount, seconds;
} Limit;

/* The limit (resource, amount, seconds) of a bucket behind the one at `first`; whether it is one. */
static int get_limit(PyObject *tuple, const Py_buffer *buckets, Py_ssize_t first, Limit *limit)
{
    Py_ssize_t at;

    if (!PyTuple_CheckExact(tuple) || PyTuple_GET_SIZE(tuple) != 3) {
        wrong_arguments("a limit is a resource, an amount and seconds");
        return 0;
    }
    at = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, 0));
    limit->amount = PyFloat_AsDouble(PyTuple_GET_ITEM(tuple, 1));
    limit->seconds = PyFloat_AsDouble(PyTuple_GET_ITEM(tuple, 2));
    if (PyErr_Occurred())
        return 0;
    if (at < 0 || at >= buckets->len / buckets->itemsize - first || !(limit->amount > 0.0 && limit->seconds > 0.0)) {
        PyErr_SetString(PyExc_ValueError, "no such bucket, or no such limit");
        return 0;
    }
    limit->full_at = (double *)buckets->buf + first + at;
    return 1;
}

PyDoc_STRVAR(take_allowances_doc,
"take_allowances(buckets, first, now, limits, counts, /)\n--\n\n"
"See `service.runtime.allowances.Allowances.take_in_turn`; the key's buckets begin at `first`.");

static PyObject *take_allowances(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer buckets;
    Py_ssize_t first, i;
    double now, number, full_at, wait;
    Limit limit;

    (void)module;
    if (count != 5 || !PyTuple_CheckExact(arguments[3]) || !PyTuple_CheckExact(arguments[4])
        || PyTuple_GET_SIZE(arguments[3]) != PyTuple_GET_SIZE(arguments[4]))
        return wrong_arguments("take_allowances takes buckets, a position, a time, limits and as many counts");
    first = PyLong_AsSsize_t(arguments[1]);
    now = PyFloat_AsDouble(arguments[2]);
    if (PyErr_Occurred() || !get_buckets(arguments[0], first, &buckets))
        return NULL;
    for (i = 0; i < PyTuple_GET_SIZE(arguments[3]); i++) {
        number = PyFloat_AsDouble(PyTuple_GET_ITEM(arguments[4], i));
        if (PyErr_Occurred() || !get_limit(PyTuple_GET_ITEM(arguments[3], i), &buckets, first, &limit))
            break;
        full_at = *limit.full_at;
        if (full_at > now + limit.seconds) /* the rate was raised since */
            full_at = *limit.full_at = now + limit.seconds;
        full_at = (now > full_at ? now : full_at) + number * limit.seconds / limit.amount;
        wait = full_at - now - limit.seconds;
        if (wait > ROUNDING) {
            PyBuffer_Release(&buckets);
            return Py_BuildValue("(nd)", i, wait);
        }
        *limit.full_at = full_at;
    }
    PyBuffer_Release(&buckets);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(describe_allowances_doc,
"describe_allowances(buckets, first, now, limits, pieces, /)\n--\n\n"
"See `service.runtime.allowances.Allowances.describe`; the key's buckets begin at `first`.");

static PyObject *describe_allowances(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer buckets;
    Py_ssize_t first, i, length, size = 0;
    double now, seconds;
    long long left, until;
    Limit limit;
    char text[MAX_TEXT];
    const char *piece;

    (void)module;
    if (count != 5 || !PyTuple_CheckExact(arguments[3]) || !PyTuple_CheckExact(arguments[4])
        || PyTuple_GET_SIZE(arguments[3]) != PyTuple_GET_SIZE(arguments[4]))
        return wrong_arguments("describe_allowances takes buckets, a position, a time, limits and as many pieces");
    first = PyLong_AsSsize_t(arguments[1]);
    now = PyFloat_AsDouble(arguments[2]);
    if (PyErr_Occurred() || !get_buckets(arguments[0], first, &buckets))
        return NULL;
    for (i = 0; i < PyTuple_GET_SIZE(arguments[3]); i++) {
        if (!get_limit(PyTuple_GET_ITEM(arguments[3], i), &buckets, first, &limit)
            || (piece = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(arguments[4], i), &length)) == NULL)
            break;
        if (length > MAX_TEXT - size - 64) {
            PyErr_SetString(PyExc_ValueError, "the pieces are too long");
            break;
        }
        seconds = *limit.full_at - now;
        if (seconds <= 0.0) {
            left = (long long)limit.amount;
            until = 0;
        } else if (seconds >= limit.seconds) {
            left = 0;
            until = (long long)limit.seconds;
        } else {
            left = (long long)(limit.amount * (1.0 - seconds / limit.seconds) + 1e-6);
            until = (long long)ceil(seconds);
        }
        memcpy(text + size, piece, (size_t)length);
        size += length;
        size += PyOS_snprintf(text + size, 64, "%lld;t=%lld", left, until);
    }
    PyBuffer_Release(&buckets);
    return PyErr_Occurred() ? NULL : PyUnicode_FromStringAndSize(text, size);
}

static PyMethodDef methods[] = {
    {"cheapest_cuts", (PyCFunction)(void (*)(void))cheapest_cuts, METH_FASTCALL, cheapest_cuts_doc},
    {"describe_allowances", (PyCFunction)(void (*)(void))describe_allowances, METH_FASTCALL, describe_allowances_doc},
    {"fill_rows", (PyCFunction)(void (*)(void))fill_rows, METH_FASTCALL, fill_rows_doc},
    {"find_head", (PyCFunction)(void (*)(void))find_head, METH_FASTCALL, find_head_doc},
    {"read_numbers", read_numbers, METH_O, read_numbers_doc},
    {"read_request", (PyCFunction)(void (*)(void))read_request, METH_FASTCALL, read_request_doc},
    {"take_allowances", (PyCFunction)(void (*)(void))take_allowances, METH_FASTCALL, take_allowances_doc},
    {"write_answer", (PyCFunction)(void (*)(void))write_answer, METH_FASTCALL, write_answer_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "service.runtime._hot_path",
    "What a small POST /forecast costs most in Python, in C.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__hot_path(void)
{
    return PyModuleDef_Init(&definition);
}
