/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program outside of the tree, in C++17. A function that is called `queue`, the names of the
 * standard library and a typed wrapper live beside the library's names.
 */
#include <conveyor.h>

#include <cstdio>
#include <queue>
#include <thread>

using namespace std;

struct order {
	int user;
};

QUEUE_TYPED(orders, struct order *)

int
main()
{
	queue<int> other;
	struct queue_options options = {};
	struct queue_bounded *shop;
	struct order first = {7}, *taken;

	other.push(1);
	options.capacity = 3;
	if (queue_create(&shop, &options) != 0)
		return 1;
	thread customer([&] { (void)orders_push(shop, &first); });
	if (orders_pop(shop, &taken) != 0 || taken->user != 7)
		return 2;
	customer.join();
	if (queue_destroy(shop) != 0)
		return 3;
	printf("conveyor %s\n", QUEUE_VERSION);
	return 0;
}
