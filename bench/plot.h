/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

/*
 * The report's plots: SVG, drawn by gnuplot when it is there. Which plots there are follows from
 * the rows; what was not measured is not drawn.
 */
#include "result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define BENCH_PLOTS_MAX 32

struct bench_plot {
	char name[40];	   /* throughput-threads; the file is plot-NAME.svg */
	char suite[16];	   /* whose figures it shows */
	char title[96];	   /* what is drawn */
	char caption[640]; /* in which conditions, and what could not be drawn */
	char *svg;	   /* from <svg to </svg> */
};

struct bench_plots {
	struct bench_plot plots[BENCH_PLOTS_MAX];
	size_t count;
	const char *missing; /* why plots are missing, a sentence; NULL when none are */
};

/*
 * Draws into DIRECTORY/plot-NAME.svg and keeps the text. 0, or negative errno when a file could not
 * be written: then `path` says which. Without gnuplot there are no plots, which is no error.
 */
int bench_plots_make(struct bench_plots *plots, const struct bench_results *results,
		     const char *directory, char *path, size_t path_size);
void bench_plots_clear(struct bench_plots *plots);

/* What plots and page say alike of a row's subject. */
enum bench_side {
	BENCH_SIDE_OWN,
	BENCH_SIDE_LOCK_FREE, /* a peer that is lock-free */
	BENCH_SIDE_OTHER      /* any other peer, or whatever else is measured */
};

enum bench_side bench_side(const struct bench_row *row);

/*
 * The conditions in a cell, word by word. "4x4" is threads=4x4, "64 waiting" is waiting=64,
 * "batch=8" is itself; words that are none of these are one value of the key "".
 */
struct bench_condition {
	char key[24];
	char value[48];
	bool counted; /* the value came first: 64 waiting */
};

#define BENCH_CONDITIONS_MAX 12

size_t bench_conditions(const char *cell, struct bench_condition *conditions);

/* A cell as people write it, "4x4, capacity 1024", but for the condition of one key, or NULL. */
const char *bench_cell_text(char *text, size_t size, const char *cell, const char *without);

/* Writes text with what has a meaning in HTML and XML escaped. */
void bench_escape(const char *text, FILE *to);

/* Writes three significant digits or so: 0.0123, 1.23, 123, 12,345. Returns text. */
const char *bench_figure(char *text, size_t size, double value);

/* The same with its unit, durations in the one that fits: 1.23 us instead of 1230 ns. */
const char *bench_quantity(char *text, size_t size, double value, const char *unit);

#endif
