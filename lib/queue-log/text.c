/* SPDX-License-Identifier: BSD-2-Clause */
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define SECOND UINT64_C(1000000000)
#define PROGRESS_EVERY 0.1
#define PROGRESS_LINE 128

/* ---- Terminals ------------------------------------------------------------------------------- */

/* Asked once: it is a system call, and is wanted for each record. */
static bool
is_terminal(int file, int *known)
{
	if (*known < 0)
		*known = isatty(file);
	return *known > 0;
}

bool
is_output_terminal(void)
{
	static int known = -1;

	return is_terminal(STDOUT_FILENO, &known);
}

bool
is_error_terminal(void)
{
	static int known = -1;

	return is_terminal(STDERR_FILENO, &known);
}

/* ---- Progress -------------------------------------------------------------------------------- */

static struct {
	size_t width; /* of what stands on the terminal's last line */
	double written;
} shown;

static double
now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Over what stood there. Blanks erase, for not every terminal knows more than that. */
static void
rewrite(const char *line)
{
	struct winsize size;
	size_t length = strlen(line), room = 79;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
		room = size.ws_col - 1U;
	if (length > room)
		length = room;
	(void)fprintf(stderr, "\r%.*s%*s%s", (int)length, line,
		      shown.width > length ? (int)(shown.width - length) : 0, "",
		      length == 0 ? "\r" : "");
	(void)fflush(stderr);
	shown.width = length;
}

void
progress_show(const char *what, uint64_t done, uint64_t total)
{
	char line[PROGRESS_LINE];
	double time;

	if (total == 0 || !is_error_terminal())
		return;
	time = now();
	if (shown.written == 0)
		shown.written = time;
	/* What is done at once needs none. */
	if (time - shown.written < PROGRESS_EVERY)
		return;
	if (done > total)
		done = total;
	(void)snprintf(line, sizeof line, "%s: %d %%", what,
		       (int)((double)done / (double)total * 100));
	rewrite(line);
	shown.written = time;
}

void
progress_end(void)
{
	if (shown.width > 0)
		rewrite("");
	shown.written = 0;
}

/* ---- Complaints ------------------------------------------------------------------------------ */

void
complain(const char *format, ...)
{
	va_list arguments;

	progress_end();
	(void)fflush(stdout);
	(void)fputs("queue-log: ", stderr);
	va_start(arguments, format);
	(void)vfprintf(stderr, format, arguments);
	va_end(arguments);
	(void)fputc('\n', stderr);
}

enum status
fail(const char *about, int rc)
{
	const char *reason = strerror(-rc);

	if (rc == -ENOENT)
		reason = "there is no log";
	else if (rc == -EBUSY)
		reason = "a program has the log open";
	else if (rc == -ENOTSUP)
		reason = "a later version of the library has made this log";
	else if (rc == -EILSEQ)
		reason = "the log is damaged; see queue-log verify";
	complain("%s: %s", about, reason);
	return rc == -EBUSY ? STATUS_BUSY : rc == -EILSEQ ? STATUS_DAMAGED : STATUS_FAILED;
}

/* ---- Sizes and times ------------------------------------------------------------------------- */

const char *
plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

const char *
size_text(char text[SIZE_TEXT], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double size = (double)bytes;
	size_t unit = 0;

	while (size >= 1023.95 && unit + 1 < sizeof units / sizeof *units) {
		size /= 1024;
		unit++;
	}
	(void)snprintf(text, SIZE_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
	return text;
}

const char *
time_text(char text[TIME_TEXT], uint64_t time)
{
	const time_t seconds = (time_t)(time / SECOND);
	struct tm local;

	if (!localtime_r(&seconds, &local) ||
	    strftime(text, TIME_TEXT, "%Y-%m-%d %H:%M:%S", &local) == 0)
		(void)snprintf(text, TIME_TEXT, "%" PRIu64, time);
	return text;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static void
write_escape(unsigned char byte)
{
	switch (byte) {
	case '\n':
		(void)fputs("\\n", stdout);
		break;
	case '\r':
		(void)fputs("\\r", stdout);
		break;
	case '\t':
		(void)fputs("\\t", stdout);
		break;
	case '\\':
		(void)fputs("\\\\", stdout);
		break;
	default:
		(void)printf("\\x%02x", byte);
	}
}

/* The columns of what write_escape writes. */
static size_t
escape_width(unsigned char byte)
{
	return byte == '\n' || byte == '\r' || byte == '\t' || byte == '\\' ? 2 : 4;
}

/*
 * How many bytes are a character that can be seen; 0: none. In the user's language. *width are its
 * columns, or those of what stands for it.
 */
static size_t
visible(const unsigned char *bytes, size_t length, size_t *width)
{
	mbstate_t state;
	wchar_t wide;
	size_t n;

	*width = 1;
	if (*bytes >= ' ' && *bytes < 0x7f && *bytes != '\\')
		return 1;
	*width = escape_width(*bytes);
	if (*bytes < 0x80)
		return 0;
	memset(&state, 0, sizeof state);
	n = mbrtowc(&wide, (const char *)bytes, length, &state);
	if (n == 0 || n > length || !iswprint((wint_t)wide))
		return 0;
	*width = wcwidth(wide) > 0 ? (size_t)wcwidth(wide) : 0;
	return n;
}

void
write_escaped(const unsigned char *bytes, size_t length)
{
	size_t i = 0, n, unused;

	while (i < length) {
		n = visible(bytes + i, length - i, &unused);
		if (n > 0)
			(void)fwrite(bytes + i, 1, n, stdout);
		else
			write_escape(bytes[i]);
		i += n > 0 ? n : 1;
	}
}

size_t
escaped_width(const unsigned char *bytes, size_t length)
{
	size_t i = 0, n, width, all = 0;

	while (i < length) {
		n = visible(bytes + i, length - i, &width);
		all += width;
		i += n > 0 ? n : 1;
	}
	return all;
}

void
write_shortened(const unsigned char *bytes, size_t length, size_t columns)
{
	size_t i = 0, n, width;

	if (escaped_width(bytes, length) <= columns) {
		write_escaped(bytes, length);
		return;
	}
	columns -= 3;
	for (;;) {
		n = visible(bytes + i, length - i, &width);
		if (width > columns)
			break;
		columns -= width;
		i += n > 0 ? n : 1;
	}
	write_escaped(bytes, i);
	(void)fputs("...", stdout);
}

/* How many bytes are a character of UTF-8; 0: these are none (RFC 3629). */
static size_t
utf8_length(const unsigned char *bytes, size_t length)
{
	unsigned char least = 0x80, most = 0xbf;
	size_t n, i;

	if (bytes[0] < 0x80)
		return 1;
	if (bytes[0] < 0xc2 || bytes[0] > 0xf4)
		return 0;
	n = bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
	if (n > length)
		return 0;
	/* No longer form than it takes, no surrogates, and nothing above U+10FFFF. */
	if (bytes[0] == 0xe0)
		least = 0xa0;
	else if (bytes[0] == 0xf0)
		least = 0x90;
	else if (bytes[0] == 0xed)
		most = 0x9f;
	else if (bytes[0] == 0xf4)
		most = 0x8f;
	if (bytes[1] < least || bytes[1] > most)
		return 0;
	for (i = 2; i < n; i++)
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return 0;
	return n;
}

void
write_json(const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t i = 0, n;

	(void)putchar('"');
	while (i < length) {
		n = utf8_length(bytes + i, length - i);
		if (n == 0)
			(void)fputs("\xef\xbf\xbd", stdout);
		else if (bytes[i] < ' ')
			(void)printf("\\u%04x", bytes[i]);
		else if (bytes[i] == '"' || bytes[i] == '\\')
			(void)printf("\\%c", bytes[i]);
		else
			(void)fwrite(bytes + i, 1, n, stdout);
		i += n > 0 ? n : 1;
	}
	(void)putchar('"');
}
