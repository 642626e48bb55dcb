/* SPDX-License-Identifier: BSD-2-Clause */
#include "page.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

#define BAR_END 4.0 /* the ratio that a verdict's bar has room for */
#define LEVEL 1.05  /* up to which ratio two figures are called level */

/* ---- Verdicts ---------------------------------------------------------------------------------- */

static bool
is_restricted(const struct bench_row *row)
{
	const struct bench_subject *subject = bench_subject_named(row->subject);

	return subject && (subject->producers_max || subject->consumers_max);
}

static bool
promises(const struct bench_row *row, unsigned trait)
{
	const struct bench_subject *subject = bench_subject_named(row->subject);

	return subject && (subject->traits & trait);
}

static bool
is_same_comparison(const struct bench_row *a, const struct bench_row *b)
{
	return strcmp(a->cell, b->cell) == 0 && strcmp(a->metric, b->metric) == 0 &&
	       strcmp(a->suite, b->suite) == 0;
}

/* A row with a figure is better than one without. */
static bool
is_better(const struct bench_row *a, const struct bench_row *b)
{
	if (!b || (a->state == BENCH_OK) != (b->state == BENCH_OK))
		return !b || a->state == BENCH_OK;
	return a->better == BENCH_HIGHER ? a->median > b->median : a->median < b->median;
}

static void
keep_better(const struct bench_row **best, const struct bench_row *row)
{
	if (is_better(row, *best))
		*best = row;
}

static double
ratio_of(const struct bench_row *own, const struct bench_row *peer)
{
	double better, worse;

	if (!peer)
		return NAN;
	if (own->state != BENCH_OK || peer->state != BENCH_OK)
		return own->state == BENCH_OK ? INFINITY : peer->state == BENCH_OK ? 0 : 1;
	better = own->better == BENCH_HIGHER ? own->median : peer->median;
	worse = own->better == BENCH_HIGHER ? peer->median : own->median;
	return better == worse ? 1 : worse == 0 ? INFINITY : better / worse;
}

static double
efficiency_of(const struct bench_row *row)
{
	if (row->state != BENCH_OK || !(row->limit_value > 0) || !(row->median > 0))
		return NAN;
	return bench_row_is_cost(row) ? row->limit_value / row->median
				      : row->median / row->limit_value;
}

static enum bench_outcome
outcome_of(double ratio)
{
	return ratio > LEVEL ? BENCH_AHEAD : ratio < 1 / LEVEL ? BENCH_BEHIND : BENCH_LEVEL;
}

/* What stands beside the subjects as their limit is not one that could be chosen instead. */
static bool
is_limit(const struct bench_results *results, const struct bench_row *row)
{
	size_t i;

	if (bench_subject_named(row->subject))
		return false;
	for (i = 0; i < results->count; i++)
		if (strcmp(results->rows[i].suite, row->suite) == 0 &&
		    strcmp(results->rows[i].limit, row->subject) == 0)
			return true;
	return false;
}

/* Compares the rows from `first` on that belong together; false when one side has none. */
static bool
compare(const struct bench_results *results, size_t first, bool single_roles,
	struct bench_verdict *verdict)
{
	size_t i;

	memset(verdict, 0, sizeof *verdict);
	verdict->single_roles = single_roles;
	for (i = first; i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];

		if (row->state == BENCH_ABSENT || !is_same_comparison(&results->rows[first], row) ||
		    (!single_roles && is_restricted(row)))
			continue;
		if (bench_side(row) == BENCH_SIDE_OWN) {
			keep_better(&verdict->own, row);
			continue;
		}
		if (is_limit(results, row))
			continue;
		keep_better(&verdict->peer, row);
		if (promises(row, BENCH_FIFO))
			keep_better(&verdict->fifo, row);
		if (promises(row, BENCH_LOCK_FREE))
			keep_better(&verdict->lock_free, row);
	}
	if (!verdict->own || !verdict->peer)
		return false;
	verdict->ratio = ratio_of(verdict->own, verdict->peer);
	verdict->ratio_fifo = ratio_of(verdict->own, verdict->fifo);
	verdict->ratio_lock_free = ratio_of(verdict->own, verdict->lock_free);
	verdict->efficiency = efficiency_of(verdict->own);
	verdict->outcome = outcome_of(verdict->ratio);
	return true;
}

static bool
came_before(const struct bench_results *results, size_t at)
{
	size_t i;

	for (i = at; i-- > 0;)
		if (is_same_comparison(&results->rows[i], &results->rows[at]))
			return true;
	return false;
}

/* Does anybody restricted take part who could change the outcome? */
static bool
has_restricted(const struct bench_results *results, size_t first)
{
	size_t i;

	for (i = first; i < results->count; i++)
		if (results->rows[i].state != BENCH_ABSENT && is_restricted(&results->rows[i]) &&
		    is_same_comparison(&results->rows[first], &results->rows[i]))
			return true;
	return false;
}

/* Allocators are measured for those who choose among them; none of them is this library's. */
static bool
has_sides(const struct bench_row *row)
{
	return row->better != BENCH_NEITHER && strcmp(row->suite, "alloc") != 0;
}

static void
collect_verdicts(const struct bench_results *results, struct bench_verdicts *verdicts)
{
	struct bench_verdict verdict;
	size_t i;

	for (i = 0; i < results->count; i++) {
		if (!has_sides(&results->rows[i]) || came_before(results, i))
			continue;
		if (compare(results, i, false, &verdict))
			verdicts->list[verdicts->count++] = verdict;
		if (has_restricted(results, i) && compare(results, i, true, &verdict))
			verdicts->list[verdicts->count++] = verdict;
	}
}

/* ---- Questions --------------------------------------------------------------------------------- */

/* How people ask for it; and which metrics of a suite come first on the page. */
static const struct {
	const char *suite, *metric, *label;
	bool headline;
} phrases[] = {
	{"throughput", "rate", "Rate", true},
	{"throughput", "pair", "Push and pop", true},
	{"throughput", "poll", "Poll when empty", true},
	{"throughput", "fairness", "Fairness between threads", false},
	{"throughput", "cpu", "CPU per item", false},
	{"throughput", "switches", "Context switches per item", false},
	{"latency", "p50", "Median", true},
	{"latency", "p99", "p99", false},
	{"latency", "p99.9", "p99.9", true},
	{"latency", "p99.99", "p99.99", false},
	{"latency", "max", "Longest", false},
	{"progress", "longest gap", "Longest gap", true},
	{"progress", "throughput of the others", "Work done by the others", true},
	{"progress", "stops felt", "Stops that others feel", false},
	{"idle", "processor use", "Processor use", true},
	{"idle", "switches", "Context switches", false},
	{"idle", "wake-ups per item", "Wake-ups per item", true},
	{"idle", "push to popped", "Waking a consumer", true},
	{"policies", "cost", "Time", true},
	{"bucket", "rate", "Rate", true},
	{"bucket", "time per call", "Time per call", false},
	{"pool", "rate", "Rate", true},
	{"topic", "delivery", "Time per delivery", true},
	{"topic", "publish", "Time per publish", true},
	{"topic", "rate", "Deliveries", true},
	{"log", "rate", "Messages on the disk", true},
	{"idle", "push call", "Push that wakes a consumer", true},
};

/* Conditions whose values make questions of their own; other ones only make cells. */
static bool
is_one_question(const char *key)
{
	static const char *const apart[] = {"", "capacity", "batch", "payload", "pin", "bytes"};
	size_t i;

	for (i = 0; i < LENGTH(apart); i++)
		if (strcmp(key, apart[i]) == 0)
			return false;
	return true;
}

/* The value that most cells of the suite have is not worth saying. */
static bool
is_usual(const struct bench_verdicts *verdicts, const char *suite,
	 const struct bench_condition *condition)
{
	size_t alike = 0, more[BENCH_CONDITIONS_MAX * 2] = {0}, values = 0, i, k, j;
	char other[BENCH_CONDITIONS_MAX * 2][sizeof condition->value];

	if (condition->key[0] == '\0')
		return false;
	for (i = 0; i < verdicts->count; i++) {
		struct bench_condition conditions[BENCH_CONDITIONS_MAX];
		const struct bench_row *row = verdicts->list[i].own;
		size_t count;

		if (strcmp(row->suite, suite) != 0)
			continue;
		count = bench_conditions(row->cell, conditions);
		for (k = 0; k < count; k++) {
			if (strcmp(conditions[k].key, condition->key) != 0)
				continue;
			if (strcmp(conditions[k].value, condition->value) == 0) {
				alike++;
				continue;
			}
			for (j = 0; j < values; j++)
				if (strcmp(other[j], conditions[k].value) == 0)
					break;
			if (j == LENGTH(more))
				continue;
			if (j == values)
				memcpy(other[values++], conditions[k].value, sizeof *other);
			more[j]++;
		}
	}
	for (j = 0; j < values; j++)
		if (more[j] >= alike)
			return false;
	return true;
}

static void
append(char *text, size_t size, const char *between, const char *more)
{
	size_t used = strlen(text);

	if (used < size)
		(void)snprintf(text + used, size - used, "%s%s", used ? between : "", more);
}

/* The question that a verdict belongs to. */
static bool
label_of(const struct bench_verdicts *verdicts, const struct bench_verdict *verdict, char *label,
	 size_t size)
{
	struct bench_condition conditions[BENCH_CONDITIONS_MAX];
	const struct bench_row *row = verdict->own;
	size_t count = bench_conditions(row->cell, conditions), i;
	bool headline = true, found = false;

	label[0] = '\0';
	for (i = 0; i < LENGTH(phrases) && !found; i++)
		if (strcmp(phrases[i].suite, row->suite) == 0 &&
		    strcmp(phrases[i].metric, row->metric) == 0) {
			append(label, size, "", phrases[i].label);
			headline = phrases[i].headline;
			found = true;
		}
	if (!found)
		append(label, size, "", row->metric);
	for (i = 0; i < count; i++) {
		if (is_one_question(conditions[i].key) ||
		    is_usual(verdicts, row->suite, &conditions[i]))
			continue;
		append(label, size, ", ",
		       conditions[i].key[0] ? conditions[i].key : conditions[i].value);
		if (conditions[i].key[0])
			append(label, size, " ", conditions[i].value);
	}
	return headline;
}

struct labelled {
	struct bench_verdict verdict;
	char label[sizeof((struct bench_question *)NULL)->label];
	bool headline;
	size_t question;
};

static int
by_question(const void *a, const void *b)
{
	const struct labelled *x = a, *y = b;

	if (x->question != y->question)
		return x->question < y->question ? -1 : 1;
	return x->verdict.own < y->verdict.own ? -1 : x->verdict.own > y->verdict.own;
}

static int
compare_numbers(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A ratio that is not finite counts as 1000, so that one does not decide a mean alone. */
static double
bounded_log(double ratio)
{
	return log(fmin(fmax(ratio, 1e-3), 1e3));
}

static double
geometric_mean(const struct bench_verdict *list, size_t count, size_t offset)
{
	double sum = 0;
	size_t used = 0, i;

	for (i = 0; i < count; i++) {
		double ratio;

		memcpy(&ratio, (const char *)&list[i] + offset, sizeof ratio);
		if (isnan(ratio))
			continue;
		sum += bounded_log(ratio);
		used++;
	}
	return used ? exp(sum / (double)used) : NAN;
}

static double
median_efficiency(const struct bench_verdict *list, size_t count)
{
	double *values = calloc(count + 1, sizeof *values), median = NAN;
	size_t used = 0, i;

	for (i = 0; values && i < count; i++)
		if (!isnan(list[i].efficiency))
			values[used++] = list[i].efficiency;
	if (used) {
		qsort(values, used, sizeof *values, compare_numbers);
		median = values[used / 2];
	}
	free(values);
	return median;
}

static void
sum_up(struct bench_question *question, const struct bench_verdict *list)
{
	size_t i;

	for (i = 0; i < question->count; i++) {
		const struct bench_verdict *verdict = &list[i];

		question->ahead += verdict->outcome == BENCH_AHEAD;
		question->level += verdict->outcome == BENCH_LEVEL;
		question->behind += verdict->outcome == BENCH_BEHIND;
		if (!question->worst || verdict->ratio < question->worst->ratio)
			question->worst = verdict;
		if (!question->best || verdict->ratio > question->best->ratio)
			question->best = verdict;
	}
	question->ratio =
		geometric_mean(list, question->count, offsetof(struct bench_verdict, ratio));
	question->ratio_fifo =
		geometric_mean(list, question->count, offsetof(struct bench_verdict, ratio_fifo));
	question->ratio_lock_free = geometric_mean(list, question->count,
						   offsetof(struct bench_verdict, ratio_lock_free));
	question->efficiency = median_efficiency(list, question->count);
	question->efficiency_most = NAN;
	for (i = 0; i < question->count; i++)
		question->efficiency_most = fmax(question->efficiency_most, list[i].efficiency);
}

static void
sort_into_questions(struct bench_verdicts *verdicts, struct labelled *labelled,
		    struct bench_questions *questions)
{
	size_t i, k;

	/* Each verdict has an own row. */
	for (i = 0; i < verdicts->count && verdicts->list[i].own; i++) {
		labelled[i].verdict = verdicts->list[i];
		labelled[i].headline = label_of(verdicts, &verdicts->list[i], labelled[i].label,
						sizeof labelled[i].label);
		for (k = 0; k < questions->count; k++)
			if (strcmp(questions->list[k].suite, verdicts->list[i].own->suite) == 0 &&
			    strcmp(questions->list[k].label, labelled[i].label) == 0 &&
			    questions->list[k].single_roles == verdicts->list[i].single_roles)
				break;
		if (k == questions->count) {
			memcpy(questions->list[k].label, labelled[i].label,
			       sizeof labelled[i].label);
			questions->list[k].suite = verdicts->list[i].own->suite;
			questions->list[k].single_roles = verdicts->list[i].single_roles;
			questions->list[k].headline = labelled[i].headline;
			questions->count++;
		}
		labelled[i].question = k;
		questions->list[k].count++;
	}
	qsort(labelled, verdicts->count, sizeof *labelled, by_question);
	for (i = 0; i < verdicts->count; i++)
		verdicts->list[i] = labelled[i].verdict;
	for (k = 0, i = 0; k < questions->count; i += questions->list[k++].count) {
		questions->list[k].first = i;
		sum_up(&questions->list[k], &verdicts->list[i]);
	}
}

int
bench_judge(const struct bench_results *results, struct bench_verdicts *verdicts,
	    struct bench_questions *questions)
{
	struct labelled *labelled;

	memset(verdicts, 0, sizeof *verdicts);
	memset(questions, 0, sizeof *questions);
	verdicts->list = calloc(2 * results->count + 1, sizeof *verdicts->list);
	if (!verdicts->list)
		return -ENOMEM;
	collect_verdicts(results, verdicts);
	questions->list = calloc(verdicts->count + 1, sizeof *questions->list);
	labelled = calloc(verdicts->count + 1, sizeof *labelled);
	if (!questions->list || !labelled) {
		free(labelled);
		bench_judge_clear(verdicts, questions);
		return -ENOMEM;
	}
	sort_into_questions(verdicts, labelled, questions);
	free(labelled);
	return 0;
}

void
bench_judge_clear(struct bench_verdicts *verdicts, struct bench_questions *questions)
{
	free(verdicts->list);
	free(questions->list);
	memset(verdicts, 0, sizeof *verdicts);
	memset(questions, 0, sizeof *questions);
}

/* ---- Writing HTML ------------------------------------------------------------------------------ */

/* Text between a tag and its end; the tag may have attributes. */
static void
element(FILE *to, const char *tag, const char *text)
{
	int length = (int)strcspn(tag, " ");

	(void)fprintf(to, "<%s>", tag);
	bench_escape(text, to);
	(void)fprintf(to, "</%.*s>", length, tag);
}

static void
write_cell(const char *cell, FILE *to)
{
	char text[128];

	bench_escape(*cell ? bench_cell_text(text, sizeof text, cell, NULL) : "all", to);
}

static void
write_ratio(double ratio, FILE *to)
{
	char text[48];

	if (isnan(ratio))
		(void)fputs("&ndash;", to);
	else if (isinf(ratio))
		(void)fputs("&infin;", to);
	else
		(void)fprintf(to, "%s&times;", bench_figure(text, sizeof text, ratio));
}

static void
write_percent(double share, FILE *to)
{
	if (isnan(share))
		(void)fputs("&ndash;", to);
	else
		(void)fprintf(to, share < 0.0995 ? "%.1f&nbsp;%%" : "%.0f&nbsp;%%", share * 100);
}

static const char *
outcome_class(enum bench_outcome outcome)
{
	return outcome == BENCH_AHEAD ? "ahead" : outcome == BENCH_BEHIND ? "behind" : "level";
}

/* From the middle, which is 1, to the right when ahead; the ends are a quarter and four times. */
static void
write_bar(double ratio, const char *class, FILE *to)
{
	double part = isinf(ratio) ? 1
		      : ratio > 0  ? fmax(-1, fmin(1, log(ratio) / log(BAR_END)))
				   : -1;
	bool cut = isinf(ratio) || ratio > BAR_END || ratio < 1 / BAR_END;

	(void)fprintf(to,
		      "<td class=\"%s\"><span class=\"scale\"><span class=\"%s%s\" "
		      "style=\"left:%.1f%%;width:%.1f%%\"></span></span></td>",
		      class, outcome_class(outcome_of(ratio)), cut ? " cut" : "",
		      part < 0 ? 50 + 50 * part : 50, fmax(fabs(part) * 50, 0.8));
}

/* A figure, or in words why there is none. */
static void
write_value(const struct bench_row *row, FILE *to)
{
	char text[64];

	if (row->state == BENCH_OK)
		bench_escape(bench_quantity(text, sizeof text, row->median, row->unit), to);
	else
		element(to, "strong class=\"bad\"", bench_state_name(row->state));
}

static void
write_who(const struct bench_row *row, FILE *to)
{
	element(to, bench_side(row) == BENCH_SIDE_OWN ? "b class=\"own\"" : "b", row->subject);
}

/* What a peer that is compared with does not promise, for a reader who might take it instead. */
static void
write_promises(const struct bench_row *row, FILE *to)
{
	const struct bench_subject *subject = bench_subject_named(row->subject);

	if (!subject)
		return;
	(void)fputs(" <span class=\"tags\">", to);
	(void)fputs((subject->traits & BENCH_LOCK_FREE) ? "lock-free" : "not lock-free", to);
	if (!(subject->traits & BENCH_FIFO))
		(void)fputs((subject->traits & BENCH_IN_ORDER) ? ", FIFO per producer only"
							       : ", not FIFO",
			    to);
	if (!(subject->traits & BENCH_BOUNDED))
		(void)fputs(", unbounded", to);
	(void)fputs("</span>", to);
}

static const char style[] =
	":root{color-scheme:light dark;--paper:#fefefe;--text:#1f2530;--faint:#5f6773;--line:#dfe3e8;"
	"--band:#f4f6f8;--own:#1d4ed8;--ahead:#15803c;--behind:#c8281e;--level:#8a929e;"
	"--bar:#b9c2ce;--mine:#7ea0f0}\n"
	"@media(prefers-color-scheme:dark){:root{--paper:#161a21;--text:#e6e9ee;--faint:#9aa3b0;"
	"--line:#303742;--band:#1e242d;--own:#7ea6ff;--ahead:#4cc47c;--behind:#ff7468;"
	"--level:#7f8896;--bar:#465061;--mine:#3f62b8}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;padding:1.5rem 1.25rem 4rem;max-width:80rem;background:var(--paper);"
	"color:var(--text);font:15px/1.5 system-ui,sans-serif}\n"
	"h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem}\n"
	"h2{font-size:1.25rem;margin:2.75rem 0 .5rem;padding-top:.75rem;border-top:1px solid "
	"var(--line)}\n"
	"h3{font-size:1rem;margin:1.5rem 0 .4rem}\n"
	"p{margin:.4rem 0;max-width:50rem}.faint,figcaption,.tags{color:var(--faint)}\n"
	".tags,.small{font-size:.8rem;font-weight:400}\n"
	"nav a{margin-right:1rem;white-space:nowrap}a{color:var(--own)}\n";

static const char style_of_parts[] =
	".tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:.75rem;margin:1.25rem 0}\n"
	".tile{border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem}\n"
	".tile b{display:block;font-size:1.75rem;line-height:1.15;font-variant-numeric:tabular-nums}\n"
	".tile span{color:var(--faint);font-size:.85rem;line-height:1.35;display:block}\n"
	".tile.ahead b{color:var(--ahead)}.tile.behind b{color:var(--behind)}\n"
	".split{display:flex;height:.6rem;border-radius:.3rem;overflow:hidden;margin:.5rem 0 1rem}\n"
	".split span{display:block}.split .ahead{background:var(--ahead)}\n"
	".split .behind{background:var(--behind)}.split .level{background:var(--level)}\n"
	".roll{overflow-x:auto;-webkit-overflow-scrolling:touch}\n"
	"table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}\n"
	"th,td{padding:.28rem .55rem;text-align:left;vertical-align:top;border-bottom:1px solid "
	"var(--line)}\n"
	"thead th{font-size:.8rem;font-weight:600;color:var(--faint);vertical-align:bottom;"
	"line-height:1.25}\n"
	"tbody th{font-weight:600}td.n,th.n{text-align:right;white-space:nowrap}\n"
	"caption{text-align:left;padding:.2rem .55rem;color:var(--faint);font-size:.85rem}\n"
	"b.own{color:var(--own)}.bad{color:var(--behind)}\n"
	"td.ahead b{color:var(--ahead)}td.behind b{color:var(--behind)}\n"
	"tr.section th{color:var(--faint);font-weight:400!important}tr.section b{color:var(--text)}\n"
	"td.bar,th.bar{min-width:6.5rem;width:12%}\n"
	".verdict{font-size:.85rem}.verdict th[scope=row]{font-weight:500}.verdict td,.verdict th{padding-top:"
	".16rem;padding-bottom:.16rem;line-height:1.35}.verdict th[scope=colgroup]{color:var(--text)}\n"
	".verdict .section th{padding-top:.7rem}\n"
	".scale{position:relative;display:block;height:.85rem;margin-top:.28rem;border-radius:2px;"
	"background:linear-gradient(90deg,transparent calc(50% - .5px),var(--faint) 0,var(--faint) "
	"calc(50% + .5px),transparent 0),var(--band)}\n"
	".scale span{position:absolute;top:.1rem;bottom:.1rem;border-radius:1px}\n"
	".scale .ahead{background:var(--ahead)}.scale .behind{background:var(--behind)}\n"
	".scale .level{background:var(--level)}\n"
	".scale .ahead.cut{border-right:3px dotted var(--paper)}\n"
	".scale .behind.cut{border-left:3px dotted var(--paper)}\n"
	".ends{display:flex;justify-content:space-between}\n"
	"td.length{min-width:7rem;width:22%}\n"
	"td.length span{display:block;height:.7rem;margin-top:.35rem;border-radius:1px;"
	"background:var(--bar)}td.length .mine{background:var(--mine)}\n"
	"details{margin:.5rem 0}summary{cursor:pointer;padding:.2rem 0}\n"
	"figure{margin:1.5rem 0}figure svg{display:block;width:100%;height:auto}\n"
	"figcaption{font-size:.85rem;max-width:56rem;margin-top:.3rem}\n"
	".plot{border:1px solid var(--line);border-radius:.5rem;overflow-x:auto}\n"
	"dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.25rem;margin:.5rem 0}\n"
	"dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}\n"
	"pre,code{font:13px/1.45 ui-monospace,monospace}\n"
	"pre{background:var(--band);padding:.75rem 1rem;overflow-x:auto;border-radius:.4rem}\n"
	"@media(min-width:64rem){.verdict tbody th,.verdict .small{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;max-width:16rem}.verdict .small{max-width:14rem}}\n"
	"@media(max-width:44rem){body{padding:1rem .75rem 3rem}.wide{display:none}"
	".tiles{grid-template-columns:repeat(2,1fr)}figure svg{min-width:46rem}"
	"td.bar,th.bar{min-width:5.5rem}th,td{padding:.28rem .35rem}dl{grid-template-columns:1fr;gap:0}"
	"dd{margin-bottom:.5rem}}\n"
	"@media print{body{max-width:none;font-size:11px}details::details-content{"
	"content-visibility:visible;block-size:auto}figure,tr{break-inside:avoid}"
	"*{print-color-adjust:exact;-webkit-print-color-adjust:exact}nav{display:none}}\n";

/* ---- The head: where are we ahead, where behind, how far from the limit ------------------------ */

/* What the questions that come first sum up to. */
static struct bench_question
sum_of_headlines(const struct bench_page *page)
{
	const struct bench_questions *questions = page->questions;
	struct bench_verdict *list = calloc(page->verdicts->count + 1, sizeof *list);
	struct bench_question sum;
	size_t i;

	memset(&sum, 0, sizeof sum);
	for (i = 0; list && i < questions->count; i++) {
		const struct bench_question *question = &questions->list[i];

		if (!question->headline)
			continue;
		memcpy(list + sum.count, page->verdicts->list + question->first,
		       question->count * sizeof *list);
		sum.count += question->count;
	}
	if (list)
		sum_up(&sum, list);
	/* These point into the list. */
	sum.worst = sum.best = NULL;
	free(list);
	return sum;
}

static void
write_split(const struct bench_question *sum, FILE *to)
{
	const struct {
		const char *class;
		size_t count;
	} parts[] = {{"behind", sum->behind}, {"level", sum->level}, {"ahead", sum->ahead}};
	size_t i;

	(void)fputs("<div class=\"split\" aria-hidden=\"true\">", to);
	for (i = 0; i < LENGTH(parts); i++)
		if (parts[i].count)
			(void)fprintf(to, "<span class=\"%s\" style=\"flex:%zu\"></span>",
				      parts[i].class, parts[i].count);
	(void)fputs("</div>\n", to);
}

static void
write_tiles(const struct bench_question *sum, FILE *to)
{
	(void)fprintf(
		to,
		"<div class=\"tiles\">\n"
		"<div class=\"tile behind\"><b>%zu</b><span>of %zu comparisons: behind the best "
		"peer, whatever that promises</span></div>\n"
		"<div class=\"tile ahead\"><b>%zu</b><span>ahead of it; level, within "
		"5&nbsp;%%, in %zu</span></div>\n",
		sum->behind, sum->count, sum->ahead, sum->level);
	(void)fputs("<div class=\"tile\"><b>", to);
	write_ratio(sum->ratio, to);
	(void)fputs("</b><span>the best peer, on geometric average", to);
	if (!isnan(sum->ratio_fifo)) {
		(void)fputs("; ", to);
		write_ratio(sum->ratio_fifo, to);
		(void)fputs(" the best that is FIFO", to);
	}
	if (!isnan(sum->ratio_lock_free)) {
		(void)fputs("; ", to);
		write_ratio(sum->ratio_lock_free, to);
		(void)fputs(" the best that is lock-free", to);
	}
	(void)fputs("</span></div>\n<div class=\"tile\"><b>", to);
	write_percent(sum->efficiency, to);
	(void)fputs("</b><span>of the machine&rsquo;s fitting limit in the median cell, ", to);
	write_percent(sum->efficiency_most, to);
	(void)fputs(" in the best</span></div>\n</div>\n", to);
	write_split(sum, to);
}

/* Each row that must not be overlooked, once for each subject and cell; of many, the first. */
static void
write_problem_list(const struct bench_page *page, FILE *to)
{
	const struct bench_results *results = page->results;
	const struct bench_row *last = NULL;
	size_t i, count = 0;

	for (i = 0; i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];

		if (row->state == BENCH_OK || row->state == BENCH_ABSENT ||
		    (last && strcmp(last->subject, row->subject) == 0 &&
		     strcmp(last->cell, row->cell) == 0))
			continue;
		last = row;
		if (++count > 8)
			continue;
		(void)fputs("<li>", to);
		write_who(row, to);
		(void)fprintf(to, " %s: ", bench_state_name(row->state));
		bench_escape(row->suite, to);
		(void)fputs(", ", to);
		write_cell(row->cell, to);
		if (row->note[0]) {
			(void)fputs("; ", to);
			bench_escape(row->note, to);
		}
		(void)fputs("</li>\n", to);
	}
	if (count > 8)
		(void)fprintf(to, "<li>and %zu more, which are in the tables</li>\n", count - 8);
}

/* Rows that must not be overlooked: those that are wrong at all, and what did not finish. */
static void
write_problems(const struct bench_page *page, FILE *to)
{
	size_t counts[BENCH_ABSENT + 1] = {0}, i;
	const struct bench_results *results = page->results;
	bool bad;

	for (i = 0; i < results->count; i++)
		counts[results->rows[i].state]++;
	bad = counts[BENCH_WRONG] || counts[BENCH_CRASHED] || page->failures_count;
	if (!bad && !counts[BENCH_STALLED])
		return;
	(void)fprintf(to, "<details%s><summary class=\"bad\"><b>", bad ? " open" : "");
	if (bad)
		(void)fprintf(to, "%zu wrong, %zu crashed, ", counts[BENCH_WRONG],
			      counts[BENCH_CRASHED]);
	(void)fprintf(to, "%zu stalled</b></summary>\n<ul>\n", counts[BENCH_STALLED]);
	for (i = 0; i < page->failures_count; i++) {
		(void)fputs("<li>The suite ", to);
		element(to, "b", page->failures[i].suite);
		(void)fputs(" could not measure: ", to);
		bench_escape(strerror(-page->failures[i].error), to);
		(void)fputs("</li>\n", to);
	}
	write_problem_list(page, to);
	(void)fputs("</ul></details>\n", to);
}

/*
 * The bar, the ratio, and in how many cells; a question that nobody asks leaves them empty. Where
 * there is little room, wide columns are not shown.
 */
static void
write_class(const struct bench_question *question, const char *class, FILE *to)
{
	if (!question) {
		(void)fprintf(to, "<td class=\"%s\"></td><td></td><td class=\"wide\"></td>", class);
		return;
	}
	write_bar(question->ratio, class, to);
	(void)fprintf(to, "<td class=\"n %s\"><b>", outcome_class(outcome_of(question->ratio)));
	write_ratio(question->ratio, to);
	(void)fprintf(to, "</b></td><td class=\"n wide\">%zu of %zu</td>", question->ahead,
		      question->count);
}

/* Where it is worst, and against whom. */
static void
write_worst(const struct bench_page *page, const struct bench_question *question, FILE *to)
{
	struct bench_condition conditions[BENCH_CONDITIONS_MAX];
	const struct bench_verdict *worst = question->worst;
	size_t count = bench_conditions(worst->own->cell, conditions), i;

	(void)fputs("<td class=\"wide small\">", to);
	if (question->count > 1) {
		write_ratio(worst->ratio, to);
		for (i = 0; i < count; i++) {
			const char *key = conditions[i].key;
			bool plain = strcmp(key, "threads") == 0 || strcmp(key, "load") == 0;

			if (!is_one_question(key) ||
			    (!plain && is_usual(page->verdicts, worst->own->suite, &conditions[i])))
				continue;
			putc(' ', to);
			if (!plain) {
				bench_escape(key, to);
				putc(' ', to);
			}
			bench_escape(conditions[i].value, to);
		}
		(void)fputs(", ", to);
	}
	element(to, "b", worst->peer->subject);
	write_promises(worst->peer, to);
	(void)fputs("</td>", to);
}

/* A line for a question: among queues for any number of threads, and with single roles. */
static void
write_question(const struct bench_page *page, const struct bench_question *any,
	       const struct bench_question *single, FILE *to)
{
	const struct bench_question *question = any ? any : single;

	(void)fputs("<tr>", to);
	element(to, "th scope=\"row\"", question->label);
	write_class(any, "bar", to);
	write_class(single, "bar wide", to);
	(void)fputs("<td class=\"n\">", to);
	write_percent(question->efficiency, to);
	(void)fputs("</td>", to);
	write_worst(page, question, to);
	(void)fputs("<td class=\"n wide\">", to);
	write_ratio(question->ratio_fifo, to);
	(void)fputs("</td><td class=\"n wide\">", to);
	write_ratio(question->ratio_lock_free, to);
	(void)fputs("</td></tr>\n", to);
}

#define VERDICT_COLUMNS 11

/* A scale for a bar, and what stands beside it. */
static void
write_class_head(const char *class, const char *name, FILE *to)
{
	(void)fprintf(to,
		      "<th scope=\"col\" class=\"%s\"><span class=\"ends\"><span>&frac14;</span>"
		      "<span>1</span><span>4&times;</span></span></th><th scope=\"col\" "
		      "class=\"n\">%s</th><th scope=\"col\" class=\"n wide\">ahead in</th>",
		      class, name);
}

static void
write_verdict_head(FILE *to)
{
	(void)fputs("<div class=\"roll\"><table class=\"verdict\">\n<thead>"
		    "<tr><th scope=\"col\">Beside the best peer</th>",
		    to);
	write_class_head("bar", "any<br>threads", to);
	write_class_head("bar wide", "single<br>roles", to);
	(void)fputs("<th scope=\"col\" class=\"n\">of the<br>limit</th>"
		    "<th scope=\"col\" class=\"wide\">worst cell, best peer there</th>"
		    "<th scope=\"col\" class=\"n wide\">beside<br>best FIFO</th>"
		    "<th scope=\"col\" class=\"n wide\">best<br>lock-free</th>"
		    "</tr></thead>\n<tbody>\n",
		    to);
}

/* The suite's name above its questions, and the conditions that they do not repeat. */
static void
write_section(const struct bench_page *page, const struct bench_question *question, FILE *to)
{
	const struct bench_verdict *verdict = &page->verdicts->list[question->first];
	struct bench_condition conditions[BENCH_CONDITIONS_MAX];
	size_t count = bench_conditions(verdict->own->cell, conditions), i;
	bool said = false;

	(void)fprintf(to, "<tr class=\"section\"><th scope=\"rowgroup\" colspan=\"%d\"><b>",
		      VERDICT_COLUMNS);
	bench_escape(verdict->own->suite, to);
	(void)fputs("</b>", to);
	for (i = 0; i < count; i++) {
		if (is_one_question(conditions[i].key) ||
		    !is_usual(page->verdicts, verdict->own->suite, &conditions[i]))
			continue;
		(void)fputs(said ? ", " : " with ", to);
		bench_escape(conditions[i].key, to);
		putc(' ', to);
		bench_escape(conditions[i].value, to);
		said = true;
	}
	(void)fputs(said ? ", unless said</th></tr>\n" : "</th></tr>\n", to);
}

/* The same question with single roles, or without; NULL when it was not asked. */
static const struct bench_question *
other_class(const struct bench_questions *questions, const struct bench_question *question)
{
	size_t i;

	for (i = 0; i < questions->count; i++)
		if (&questions->list[i] != question &&
		    strcmp(questions->list[i].suite, question->suite) == 0 &&
		    strcmp(questions->list[i].label, question->label) == 0)
			return &questions->list[i];
	return NULL;
}

static void
write_verdicts(const struct bench_page *page, FILE *to)
{
	const struct bench_questions *questions = page->questions;
	const char *suite = "";
	size_t i;

	if (page->verdicts->count == 0) {
		(void)fputs("<p>Nothing can be compared: in no cell were both this library and "
			    "another one measured.</p>\n",
			    to);
		return;
	}
	write_verdict_head(to);
	for (i = 0; i < questions->count; i++) {
		const struct bench_question *question = &questions->list[i];
		const struct bench_question *other = other_class(questions, question);

		if (!question->headline || (other && other < question))
			continue;
		if (strcmp(suite, question->suite) != 0)
			write_section(page, question, to);
		suite = question->suite;
		if (question->single_roles)
			write_question(page, other, question, to);
		else
			write_question(page, question, other, to);
	}
	(void)fputs(
		"</tbody></table></div>\n"
		"<p class=\"faint small\">A ratio says how many times better the best queue of "
		"this library is than the best of all others in the same cell, by medians; over "
		"several cells it is their geometric mean. It is green above 1.05, which is "
		"ahead, and red below 0.95, which is behind. &ldquo;Any "
		"threads&rdquo;: only queues for any number of threads take part, of this library "
		"and of others; &ldquo;single roles&rdquo;: those for one producer or one "
		"consumer do too. &ldquo;Of the "
		"limit&rdquo; is the fitting figure of the suite limits divided by what was reached (a pair by one "
		"compare-and-swap, so that what needs none is over 100 %), in the "
		"median of the cells. Fairness, processor time and further percentiles are "
		"<a href=\"#comparisons\">below</a>.</p>\n",
		to);
}

/* ---- Every comparison -------------------------------------------------------------------------- */

static void
write_comparison(const struct bench_verdict *verdict, FILE *to)
{
	(void)fputs("<tr><th scope=\"row\">", to);
	write_cell(verdict->own->cell, to);
	if (verdict->single_roles)
		(void)fputs(" <span class=\"tags\">single roles</span>", to);
	(void)fputs("</th>", to);
	(void)fputs("<td>", to);
	write_who(verdict->own, to);
	(void)fputs("<br>", to);
	write_value(verdict->own, to);
	(void)fputs("</td>", to);
	write_bar(verdict->ratio, "bar", to);
	(void)fprintf(to, "<td class=\"n %s\"><b>", outcome_class(verdict->outcome));
	write_ratio(verdict->ratio, to);
	(void)fputs("</b></td><td>", to);
	write_who(verdict->peer, to);
	write_promises(verdict->peer, to);
	(void)fputs("<br>", to);
	write_value(verdict->peer, to);
	(void)fputs("</td><td class=\"n\">", to);
	write_ratio(verdict->ratio_fifo, to);
	(void)fputs("</td><td class=\"n\">", to);
	write_ratio(verdict->ratio_lock_free, to);
	(void)fputs("</td><td class=\"n\">", to);
	write_percent(verdict->efficiency, to);
	(void)fputs("</td></tr>\n", to);
}

static void
write_comparisons(const struct bench_page *page, FILE *to)
{
	size_t i, k;

	(void)fputs("<h2 id=\"comparisons\">Every comparison</h2>\n", to);
	for (i = 0; i < page->questions->count; i++) {
		const struct bench_question *question = &page->questions->list[i];

		(void)fputs("<details><summary>", to);
		bench_escape(question->suite, to);
		(void)fputs(": ", to);
		element(to, "b", question->label);
		(void)fputs(question->single_roles ? ", single roles" : "", to);
		(void)fprintf(to, ": ahead in %zu, level in %zu, behind in %zu</summary>\n",
			      question->ahead, question->level, question->behind);
		(void)fputs(
			"<div class=\"roll\"><table><thead><tr><th scope=\"col\">Cell</th>"
			"<th scope=\"col\">conveyor&rsquo;s best</th>"
			"<th scope=\"col\" class=\"bar\"><span class=\"ends\"><span>behind</span>"
			"<span>ahead</span></span></th>"
			"<th scope=\"col\" class=\"n\">ratio</th>"
			"<th scope=\"col\">the best peer</th>"
			"<th scope=\"col\" class=\"n\">to best FIFO</th>"
			"<th scope=\"col\" class=\"n\">to best lock-free</th>"
			"<th scope=\"col\" class=\"n\">of the limit</th></tr></thead>\n<tbody>\n",
			to);
		for (k = 0; k < question->count; k++)
			write_comparison(&page->verdicts->list[question->first + k], to);
		(void)fputs("</tbody></table></div></details>\n", to);
	}
}

/* ---- Plots ------------------------------------------------------------------------------------- */

static void
write_plots(const struct bench_page *page, FILE *to)
{
	size_t i;

	(void)fputs("<h2 id=\"plots\">Plots</h2>\n", to);
	if (page->plots->missing)
		element(to, "p", page->plots->missing);
	for (i = 0; i < page->plots->count; i++) {
		const struct bench_plot *plot = &page->plots->plots[i];

		(void)fprintf(to, "<figure id=\"%s\"><div class=\"plot\">\n", plot->name);
		(void)fputs(plot->svg, to);
		(void)fputs("</div>", to);
		element(to, "figcaption", plot->caption);
		(void)fputs("</figure>\n", to);
	}
}

/* ---- Full tables ------------------------------------------------------------------------------- */

#define COLUMNS_MAX 16

/* What was measured in one cell. */
struct table {
	const struct bench_row *first;
	const struct bench_row *columns[COLUMNS_MAX]; /* one row of each metric */
	size_t column_count;
	const struct bench_row **lines; /* one row of each subject, best first */
	size_t line_count;
};

static bool
is_same_cell(const struct bench_row *a, const struct bench_row *b)
{
	return strcmp(a->cell, b->cell) == 0 && strcmp(a->suite, b->suite) == 0;
}

static int
by_rank(const void *a, const void *b)
{
	const struct bench_row *x = *(const struct bench_row *const *)a;
	const struct bench_row *y = *(const struct bench_row *const *)b;

	if (is_better(x, y) != is_better(y, x))
		return is_better(x, y) ? -1 : 1;
	return x < y ? -1 : x > y;
}

static void
add_to_table(struct table *table, const struct bench_row *row)
{
	size_t i;

	for (i = 0; i < table->column_count; i++)
		if (strcmp(table->columns[i]->metric, row->metric) == 0)
			break;
	if (i == table->column_count && i < COLUMNS_MAX)
		table->columns[table->column_count++] = row;
	for (i = 0; i < table->line_count; i++)
		if (strcmp(table->lines[i]->subject, row->subject) == 0)
			return;
	table->lines[table->line_count++] = row;
}

/* The rows of one cell from `first` on; lines has room for all. */
static void
collect_table(const struct bench_results *results, size_t first, struct table *table)
{
	size_t i;

	table->first = &results->rows[first];
	table->column_count = table->line_count = 0;
	for (i = first; i < results->count; i++)
		if (is_same_cell(table->first, &results->rows[i]))
			add_to_table(table, &results->rows[i]);
	/* In the order of the first metric, by which all of them can be told apart. */
	for (i = 0; i < table->line_count; i++) {
		const struct bench_row *row =
			bench_results_find(results, table->first->suite, table->lines[i]->subject,
					   table->first->cell, table->columns[0]->metric);

		if (row)
			table->lines[i] = row;
	}
	if (table->columns[0]->better != BENCH_NEITHER)
		qsort(table->lines, table->line_count, sizeof(struct bench_row *), by_rank);
}

static bool
has_notes(const struct bench_results *results, const struct table *table)
{
	size_t i;

	for (i = 0; i < results->count; i++)
		if (is_same_cell(table->first, &results->rows[i]) && results->rows[i].note[0])
			return true;
	return false;
}

static void
write_table_value(const struct bench_row *row, bool with_limit, FILE *to)
{
	char least[48], most[48];

	if (!row) {
		(void)fputs("<td class=\"n\">&ndash;</td>", to);
		return;
	}
	(void)fputs("<td class=\"n\">", to);
	write_value(row, to);
	if (row->state == BENCH_OK && row->rounds > 1 && row->max > row->min)
		(void)fprintf(to, "<br><span class=\"tags\">%s to %s</span>",
			      bench_figure(least, sizeof least, row->min),
			      bench_figure(most, sizeof most, row->max));
	if (with_limit && !isnan(efficiency_of(row))) {
		(void)fputs("<br><span class=\"tags\">", to);
		write_percent(efficiency_of(row), to);
		(void)fputs(" of the limit</span>", to);
	}
	(void)fputs("</td>", to);
}

/* How near a line is to the best one by the first metric. */
static void
write_length(const struct table *table, const struct bench_row *row, FILE *to)
{
	const struct bench_row *best = table->lines[0];
	double part = 0;

	if (row->state == BENCH_OK && best->state == BENCH_OK && row->better != BENCH_NEITHER)
		part = row == best		     ? 1
		       : row->better == BENCH_HIGHER ? row->median / best->median
						     : best->median / row->median;
	if (!(part >= 0) || part > 1)
		part = 0;
	(void)fprintf(to, "<td class=\"length wide\"><span%s style=\"width:%.1f%%\"></span></td>",
		      bench_side(row) == BENCH_SIDE_OWN ? " class=\"mine\"" : "", part * 100);
}

/* The first of the line's notes; where they differ, each with what it is of. */
static void
write_notes(const struct bench_results *results, const struct table *table,
	    const struct bench_row *line, FILE *to)
{
	const char *said = "";
	size_t i;

	(void)fputs("<td class=\"small\">", to);
	for (i = 0; i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];

		if (!row->note[0] || !is_same_cell(table->first, row) ||
		    strcmp(row->subject, line->subject) != 0 || strcmp(row->note, said) == 0)
			continue;
		(void)fputs(*said ? "; " : "", to);
		bench_escape(row->note, to);
		said = row->note;
	}
	(void)fputs("</td>", to);
}

static void
write_line(const struct bench_results *results, const struct table *table, size_t line, bool notes,
	   FILE *to)
{
	const struct bench_row *row = table->lines[line];
	const struct bench_subject *subject = bench_subject_named(row->subject);
	size_t i;

	(void)fputs("<tr><th scope=\"row\">", to);
	write_who(row, to);
	if (subject) {
		(void)fputs(" <span class=\"tags wide\">", to);
		bench_escape(subject->label, to);
		(void)fputs("</span>", to);
	}
	(void)fputs("</th>", to);
	write_length(table, row, to);
	for (i = 0; i < table->column_count; i++)
		write_table_value(bench_results_find(results, row->suite, row->subject, row->cell,
						     table->columns[i]->metric),
				  i == 0, to);
	if (notes)
		write_notes(results, table, row, to);
	(void)fputs("</tr>\n", to);
}

static void
write_table_caption(const struct table *table, FILE *to)
{
	char text[64];

	(void)fputs("<caption>", to);
	if (table->line_count && table->lines[0]->rounds > 1)
		(void)fprintf(to, "Medians of %zu rounds, lowest to highest below. ",
			      table->lines[0]->rounds);
	if (table->first->limit[0]) {
		(void)fputs("The limit: ", to);
		bench_escape(table->first->limit, to);
		(void)fputs(", ", to);
		bench_escape(bench_quantity(text, sizeof text, table->first->limit_value,
					    table->first->unit),
			     to);
		putc('.', to);
	}
	(void)fputs("</caption>\n", to);
}

static void
write_table(const struct bench_results *results, const struct table *table, FILE *to)
{
	static const char *const directions[] = {"higher is better", "lower is better", ""};
	bool notes = has_notes(results, table);
	size_t i;

	(void)fputs("<details><summary>", to);
	write_cell(table->first->cell, to);
	(void)fprintf(to,
		      " <span class=\"tags\">(%zu)</span></summary>\n<div class=\"roll\"><table>",
		      table->line_count);
	write_table_caption(table, to);
	(void)fputs("<thead><tr><th scope=\"col\">Subject</th><td class=\"length wide\"></td>", to);
	for (i = 0; i < table->column_count; i++) {
		(void)fputs("<th scope=\"col\" class=\"n\">", to);
		bench_escape(table->columns[i]->metric, to);
		(void)fputs("<br><span class=\"tags\">", to);
		bench_escape(directions[table->columns[i]->better], to);
		(void)fputs("</span></th>", to);
	}
	if (notes)
		(void)fputs("<th scope=\"col\">Note</th>", to);
	(void)fputs("</tr></thead>\n<tbody>\n", to);
	for (i = 0; i < table->line_count; i++)
		write_line(results, table, i, notes, to);
	(void)fputs("</tbody></table></div></details>\n", to);
}

static bool
cell_came_before(const struct bench_results *results, size_t at)
{
	size_t i;

	for (i = at; i-- > 0;)
		if (is_same_cell(&results->rows[i], &results->rows[at]))
			return true;
	return false;
}

static bool
suite_came_before(const struct bench_results *results, size_t at)
{
	size_t i;

	for (i = at; i-- > 0;)
		if (strcmp(results->rows[i].suite, results->rows[at].suite) == 0)
			return true;
	return false;
}

static void
write_tables(const struct bench_page *page, FILE *to)
{
	const struct bench_results *results = page->results;
	struct table table;
	size_t i, k;

	table.lines = calloc(results->count + 1, sizeof(struct bench_row *));
	(void)fputs("<h2 id=\"tables\">All figures</h2>\n", to);
	if (!table.lines)
		(void)fputs("<p class=\"bad\">There was no memory for the tables.</p>\n", to);
	for (i = 0; table.lines && i < results->count; i++) {
		if (suite_came_before(results, i))
			continue;
		element(to, "h3", results->rows[i].suite);
		for (k = i; k < results->count; k++) {
			if (strcmp(results->rows[k].suite, results->rows[i].suite) != 0 ||
			    cell_came_before(results, k))
				continue;
			collect_table(results, k, &table);
			write_table(results, &table, to);
		}
	}
	free(table.lines);
}

/* ---- Subjects, machine ------------------------------------------------------------------------- */

static void
write_threads(unsigned most, FILE *to)
{
	if (most)
		(void)fprintf(to, "<td>%u</td>", most);
	else
		(void)fputs("<td>any</td>", to);
}

static void
write_subjects(FILE *to)
{
	static const struct {
		unsigned trait;
		const char *name;
	} traits[] = {
		{BENCH_LOCK_FREE, "lock-free"},	       {BENCH_FIFO, "FIFO"},
		{BENCH_IN_ORDER, "FIFO per producer"}, {BENCH_BOUNDED, "bounded"},
		{BENCH_EXACT, "exact capacity"},       {BENCH_CLOSES, "can be closed"},
		{BENCH_ANY_VALUE, "any value"},	       {BENCH_NO_SYSCALL, "no system call"},
	};
	const struct bench_subject *subject;
	size_t i;

	(void)fputs("<h2 id=\"subjects\">Subjects, and what they do not do</h2>\n"
		    "<div class=\"roll\"><table><thead><tr><th scope=\"col\">Subject</th>"
		    "<th scope=\"col\">Producers</th><th scope=\"col\">Consumers</th>",
		    to);
	for (i = 0; i < LENGTH(traits); i++)
		element(to, "th scope=\"col\"", traits[i].name);
	(void)fputs("<th scope=\"col\">Remark</th></tr></thead>\n<tbody>\n", to);
	for (subject = bench_subjects(); subject; subject = subject->next) {
		(void)fputs("<tr><th scope=\"row\">", to);
		element(to, (subject->traits & BENCH_OWN) ? "b class=\"own\"" : "b", subject->name);
		(void)fputs("<br><span class=\"tags\">", to);
		bench_escape(subject->label, to);
		(void)fputs("; ", to);
		bench_escape(subject->library, to);
		(void)fputs("</span></th>", to);
		write_threads(subject->producers_max, to);
		write_threads(subject->consumers_max, to);
		for (i = 0; i < LENGTH(traits); i++)
			(void)fputs((subject->traits & traits[i].trait)
					    ? "<td>yes</td>"
					    : "<td class=\"bad\"><b>no</b></td>",
				    to);
		element(to, "td class=\"small\"", subject->remark ? subject->remark : "");
		(void)fputs("</tr>\n", to);
	}
	(void)fputs("</tbody></table></div>\n", to);
}

static void
write_fact(FILE *to, const char *name, const char *value)
{
	element(to, "dt", name);
	element(to, "dd", value);
}

static void
write_machine(const struct bench_page *page, FILE *to)
{
	const struct bench_machine *machine = page->machine;
	char text[160];

	(void)fputs("<h2 id=\"machine\">Machine and method</h2>\n<dl>\n", to);
	write_fact(to, "Processor", machine->cpu);
	(void)snprintf(text, sizeof text, "%u, of those that this process may use",
		       machine->processors);
	write_fact(to, "Processors", text);
	write_fact(to, "Kernel", machine->kernel);
	write_fact(to, "Compiler", machine->compiler);
	write_fact(to, "Flags, for all subjects", machine->flags);
	write_fact(to, "conveyor", machine->version);
	write_fact(to, "Measured", machine->when);
	(void)snprintf(text, sizeof text, "%.0f s%s%s", machine->seconds,
		       page->length[0] ? ", run with " : "", page->length);
	write_fact(to, "Took", text);
	(void)snprintf(text, sizeof text, "%ju", (uintmax_t)machine->seed);
	write_fact(to, "Seed", text);
	(void)snprintf(
		text, sizeof text,
		"%.1f %% of the processors' time was taken by the host (steal); in the median "
		"figure the rounds spread over %.1f %%",
		machine->steal * 100, machine->spread * 100);
	write_fact(to, "Noise", text);
	(void)fputs("</dl>\n", to);
	(void)fputs(
		"<p>All subjects run the same loops with the same polling, yielding, pinning, "
		"capacity and items. They take turns round by round, and a figure is the median "
		"of its rounds. Every run checks that each item came out once, and in order "
		"where the subject promises one: else it is <b>wrong</b>. One that does not end "
		"in time is <b>stalled</b>, one that a signal ended <b>crashed</b>, and what "
		"cannot be had in these conditions <b>absent</b>. With more threads than "
		"processors the scheduler decides a good part of each figure.</p>\n"
		"<p>To repeat it, from the source tree:</p>\n<pre>make bench-peers\nmake "
		"bench\n",
		to);
	bench_escape(page->command, to);
	(void)fputs("</pre>\n", to);
}

/* ---- The page ---------------------------------------------------------------------------------- */

static void
write_head(const struct bench_page *page, FILE *to)
{
	const struct bench_machine *machine = page->machine;

	(void)fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
		    "<title>conveyor beside its peers</title>\n<style>\n",
		    to);
	(void)fputs(style, to);
	(void)fputs(style_of_parts, to);
	(void)fputs("</style>\n</head>\n<body>\n<header>\n<h1>conveyor beside its peers</h1>\n"
		    "<p class=\"faint\">",
		    to);
	bench_escape(machine->version, to);
	(void)fputs(" &middot; ", to);
	bench_escape(machine->cpu, to);
	(void)fprintf(to, ", %u processor%s &middot; ", machine->processors,
		      machine->processors == 1 ? "" : "s");
	bench_escape(machine->compiler, to);
	(void)fputs(" &middot; ", to);
	bench_escape(machine->when, to);
	(void)fputs("</p>\n<nav class=\"small\"><a href=\"#plots\">Plots</a>\n"
		    "<a href=\"#comparisons\">Every comparison</a>\n"
		    "<a href=\"#tables\">All figures</a>\n"
		    "<a href=\"#subjects\">Subjects</a>\n"
		    "<a href=\"#machine\">Machine and method</a>"
		    "</nav>\n</header>\n<main>\n",
		    to);
}

void
bench_page_write(const struct bench_page *page, FILE *to)
{
	struct bench_question sum = sum_of_headlines(page);

	write_head(page, to);
	if (sum.count)
		write_tiles(&sum, to);
	write_problems(page, to);
	write_verdicts(page, to);
	write_plots(page, to);
	write_comparisons(page, to);
	write_tables(page, to);
	write_subjects(to);
	write_machine(page, to);
	(void)fputs("</main>\n</body>\n</html>\n", to);
}
