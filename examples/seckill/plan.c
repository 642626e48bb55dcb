/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The capacity plan of the request queue: what conveyor(7), "Capacity planning", computes from the
 * settings alone, beside what the sale has shown.
 *
 *	rate of the workers  =  workers / service time
 *	longest wait         =  capacity / rate of the workers
 *	deadline            >=  longest wait + service time + reserve
 *
 * The promise of a plan is that who is let in by the bucket is served, and in time: it is not kept
 * when one of them times out, nor when the queue turns too many away that the bucket let in. It says
 * nothing about whether the sums agree, and a machine that is too slow for it is no error: so it
 * never changes the exit status.
 */
#include "seckill.h"

#include <stdarg.h>

/*
 * A quarter of the deadline is kept back for what no formula knows: a gateway that is late, a
 * scheduler that lets a worker wait. What was measured may be over the plan by as much.
 */
#define RESERVE_PART 4
/* One in so many may be worse: one stall of the machine must not decide about a whole sale. */
#define EXCEPTIONS 100
/*
 * Of those let in the queue may refuse so many in a hundred. A burst of the bucket that is larger
 * than the queue costs some, once: 3976 of 105,000 in the sale as it comes.
 */
#define REFUSED_MOST 5

struct plan {
	uint64_t service, rate, wait, reserve, deadline; /* times in nanoseconds, rate per second */
};

/* ---- Measuring ------------------------------------------------------------------------------- */

int
plan_work_request(void *item, void *context)
{
	struct shop *shop = context;
	uint64_t start = queue_now();
	int rc = work_request(item, shop);

	/* Relaxed: they are read when the workers have ended. */
	atomic_fetch_add_explicit(&shop->served, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&shop->service_time, queue_now() - start, memory_order_relaxed);
	return rc;
}

void
plan_measure(const struct shop *shop, struct figures *out)
{
	out->served = tally_read(&shop->served);
	out->service_time = tally_read(&shop->service_time);
	if (shop->async)
		(void)queue_stats(shop->requests, &out->requests);
}

/* How many a second the workers do if one request takes them so long; 0: no matter how many. */
static uint64_t
rate_of(const struct options *options, uint64_t service)
{
	return service > 0 ? options->workers * QUEUE_SECOND / service : 0;
}

/* How long the last one in a full queue waits. */
static uint64_t
wait_of(const struct options *options, uint64_t service)
{
	return options->capacity * service / options->workers;
}

/* The mean. */
static uint64_t
measured_service(const struct figures *figures)
{
	return figures->served > 0 ? figures->service_time / figures->served : 0;
}

/* Requests that the request queue was asked to take. */
static uint64_t
let_in(const struct figures *figures)
{
	const struct queue_stats *stats = &figures->requests;

	return stats->pushed + stats->rejected + stats->discarded + stats->ran +
	       stats->closed_rejected;
}

/* Those of them that found it full, or gave way to newer ones when it was. */
static uint64_t
refused_inside(const struct figures *figures)
{
	return figures->outcomes[OUTCOME_FULL] + figures->outcomes[OUTCOME_DISCARDED] +
	       figures->outcomes[OUTCOME_EVICTED];
}

/*
 * Those of them that timed out, by what else became of the others: a request may also time out
 * before a gateway has the time to take it, which no plan of the queue can help.
 */
static uint64_t
timed_out_inside(const struct figures *figures)
{
	static const enum outcome decided[] = {OUTCOME_SOLD,	  OUTCOME_SOLD_OUT, OUTCOME_FULL,
					       OUTCOME_DISCARDED, OUTCOME_EVICTED,  OUTCOME_BOUGHT,
					       OUTCOME_RISK,	  OUTCOME_DATABASE, OUTCOME_MEMORY};
	uint64_t sum = 0, in = let_in(figures);

	for (size_t i = 0; i < sizeof decided / sizeof *decided; i++)
		sum += figures->outcomes[decided[i]];
	/* Without memory a request is turned away at the door, mostly. */
	return sum < in ? in - sum : 0;
}

/* ---- The plan and what became of it ---------------------------------------------------------- */

static struct plan
make_plan(const struct options *options)
{
	uint64_t service = (options->risk_us + options->stock_us) * QUEUE_MICROSECOND;
	uint64_t deadline = options->deadline_ms * QUEUE_MILLISECOND;

	return (struct plan){
		.service = service,
		.rate = rate_of(options, service),
		.wait = wait_of(options, service),
		.reserve = deadline / RESERVE_PART,
		.deadline = deadline,
	};
}

static void print_row(const char *planned, const char *measured, const char *format, ...)
	__attribute__((__format__(__printf__, 3, 4)));

static void
print_row(const char *planned, const char *measured, const char *format, ...)
{
	char name[64];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(name, sizeof name, format, arguments);
	va_end(arguments);
	printf("  %-30s %16s %16s\n", name, planned, measured);
}

static const char *
text_rate(char text[TEXT_SIZE], uint64_t rate)
{
	return rate > 0 ? text_number(text, rate) : "-";
}

static uint64_t
per_second(uint64_t count, const struct figures *figures)
{
	return (uint64_t)((double)count * 1e9 / (double)figures->elapsed);
}

/* A share of a whole, in percent; "-" when there is no whole. */
static const char *
text_share(char text[TEXT_SIZE], uint64_t part, uint64_t whole)
{
	if (whole == 0)
		return "-";
	snprintf(text, TEXT_SIZE, "%.0f %%", (double)part * 100 / (double)whole);
	return text;
}

/* What comes through the door, and what becomes of it. */
static void
print_flow(const struct options *options, const struct plan *plan, const struct figures *figures)
{
	char a[TEXT_SIZE], b[TEXT_SIZE];
	uint64_t in = let_in(figures);

	print_row(text_rate(a, options->rate), text_rate(b, per_second(in, figures)),
		  "let in by the bucket, a second");
	snprintf(a, sizeof a, "up to %d %%", REFUSED_MOST);
	print_row(a, text_share(b, refused_inside(figures), in), "of these, refused by the queue");
	print_row(text_rate(a, options->rate), text_rate(b, per_second(figures->served, figures)),
		  "done by the workers, a second");
	print_row(text_share(a, options->rate, options->rate > 0 ? plan->rate : 0),
		  text_share(b, figures->service_time, options->workers * figures->elapsed),
		  "workers are busy");
}

static void
print_table(const struct options *options, const struct plan *plan, const struct figures *figures)
{
	char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
	uint64_t service = measured_service(figures);

	printf("%-32s %16s %16s\n", "Capacity plan", "planned", "measured");
	print_row(text_time(a, plan->service), text_time(b, service), "service time");
	print_row(text_rate(a, plan->rate), text_rate(b, rate_of(options, service)),
		  "rate of the workers, a second");
	print_flow(options, plan, figures);
	print_row(text_time(a, plan->wait), text_time(b, wait_of(options, service)),
		  "longest wait, with %s inside", text_number(c, options->capacity));
	print_row("", text_time(b, figures->requests.sojourn_p99), "wait, p99");
	print_row(text_time(a, plan->wait + plan->service + plan->reserve),
		  text_time(b, figures->requests.sojourn_p99 + service), "needed of %s",
		  text_time(c, plan->deadline));
}

#define OUTSIDE_SIZE (32 + TEXT_SIZE)

/* Of all that timed out, those that are not the plan's: the comparison counts them, too. */
static const char *
text_outside(char text[OUTSIDE_SIZE], const struct figures *figures, uint64_t inside)
{
	uint64_t all = figures->outcomes[OUTCOME_TIMED_OUT];
	char number[TEXT_SIZE];

	*text = '\0';
	if (all > inside)
		snprintf(text, OUTSIDE_SIZE, "; %s before %s let in",
			 text_number(number, all - inside),
			 all - inside == 1 ? "it was" : "they were");
	return text;
}

/* The plan itself, then what was measured against it. */
static void
print_verdict(const struct plan *plan, const struct figures *figures)
{
	char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE], d[OUTSIDE_SIZE];
	uint64_t p99 = figures->requests.sojourn_p99, in = let_in(figures);
	uint64_t late = timed_out_inside(figures), refused = refused_inside(figures);

	if (plan->wait + plan->service + plan->reserve > plan->deadline)
		printf("plan: NOT kept: a wait of %s and %s in reserve do not fit into %s",
		       text_time(a, plan->wait), text_time(b, plan->reserve),
		       text_time(c, plan->deadline));
	else if (figures->requests.sojourn_samples == 0)
		printf("plan: not tried");
	else if (p99 > plan->wait + plan->reserve)
		printf("plan: NOT kept: one in %d waited more than %s; planned: %s, reserve %s",
		       EXCEPTIONS, text_time(a, p99), text_time(b, plan->wait),
		       text_time(c, plan->reserve));
	else
		printf("plan: %s: of %s let in the queue refused %s, and %s timed out%s",
		       late > 0 || refused * 100 > in * REFUSED_MOST ? "NOT kept" : "kept",
		       text_number(a, in), text_number(b, refused), text_number(c, late),
		       text_outside(d, figures, late));
	puts("\n");
}

void
plan_report(const struct options *options, const struct figures *figures)
{
	const struct plan plan = make_plan(options);

	if (figures->requests.capacity == 0 || figures->elapsed == 0)
		return; /* mode sync has no queue to plan */
	print_table(options, &plan, figures);
	print_verdict(&plan, figures);
}
