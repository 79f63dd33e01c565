/* Converts prices. rates.go does the same for Go. */
#ifndef RATES_H
#define RATES_H

#include <stddef.h>
#include <string.h>

static const struct {
	const char *currency;
	long long millionths;
} rates[] = {
#define RATE(currency, millionths) {#currency, millionths},
#include "rates.def"
#undef RATE
};

/* What euro cents are worth in hundredths of another currency, rounded; -1 if
   there is no rate for it. Cents are at most 1e9. */
static inline long long convert(long long cents, const char *currency)
{
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
		if (strcmp(rates[i].currency, currency) == 0)
			return (cents * rates[i].millionths + 500000) / 1000000;
	return -1;
}

#endif
