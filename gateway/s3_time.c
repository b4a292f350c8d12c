#include "gateway/s3_time.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char s3_days[7][4] = { "Sun", "Mon", "Tue", "Wed",
				    "Thu", "Fri", "Sat" };
static const char s3_months[12][4] = { "Jan", "Feb", "Mar", "Apr",
				       "May", "Jun", "Jul", "Aug",
				       "Sep", "Oct", "Nov", "Dec" };

struct s3_civil {
	unsigned year, month, day; /* month and day from 1 */
	unsigned hour, min, sec;
	unsigned weekday; /* 0 = Sunday */
};

#define S3_SEC_MIN (-62167219200ll) /* 0000-01-01 */
#define S3_SEC_MAX 253402300799ll   /* 9999-12-31 */

/* Days since 1970 <-> date, by the 400-year cycle of the calendar that starts
 * in March (so that the leap day is the last of its year). */
static int64_t s3_days_from_civil(int64_t y, unsigned m, unsigned d)
{
	int64_t era;
	unsigned yoe, doy, doe;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = (unsigned)(y - era * 400);
	doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + (int64_t)doe - 719468;
}

static struct s3_civil s3_civil_from_sec(int64_t sec)
{
	struct s3_civil c;
	int64_t days, z, era;
	unsigned doe, yoe, doy, mp, rest;

	if (sec < S3_SEC_MIN)
		sec = S3_SEC_MIN;
	if (sec > S3_SEC_MAX)
		sec = S3_SEC_MAX;
	days = sec / 86400 - (sec % 86400 < 0);
	rest = (unsigned)(sec - days * 86400);
	z = days + 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = (unsigned)(z - era * 146097);
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	c.day = doy - (153 * mp + 2) / 5 + 1;
	c.month = mp < 10 ? mp + 3 : mp - 9;
	c.year = (unsigned)((int64_t)yoe + era * 400 + (c.month <= 2));
	c.hour = rest / 3600;
	c.min = rest / 60 % 60;
	c.sec = rest % 60;
	c.weekday = (unsigned)(((days + 4) % 7 + 7) % 7);
	return c;
}

static char *s3_digits(char *p, unsigned v, unsigned n)
{
	for (unsigned i = n; i-- > 0; v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + n;
}

void s3_time_iso(int64_t sec, unsigned ms, char out[S3_TIME_ISO_LEN + 1])
{
	struct s3_civil c = s3_civil_from_sec(sec);
	char *p = s3_digits(out, c.year, 4);

	*p++ = '-';
	p = s3_digits(p, c.month, 2);
	*p++ = '-';
	p = s3_digits(p, c.day, 2);
	*p++ = 'T';
	p = s3_digits(p, c.hour, 2);
	*p++ = ':';
	p = s3_digits(p, c.min, 2);
	*p++ = ':';
	p = s3_digits(p, c.sec, 2);
	*p++ = '.';
	p = s3_digits(p, ms, 3);
	*p++ = 'Z';
	*p = '\0';
}

void s3_time_http(int64_t sec, char out[S3_TIME_HTTP_LEN + 1])
{
	struct s3_civil c = s3_civil_from_sec(sec);
	char *p = out;

	memcpy(p, s3_days[c.weekday], 3);
	memcpy(p + 3, ", ", 2);
	p = s3_digits(p + 5, c.day, 2);
	*p++ = ' ';
	memcpy(p, s3_months[c.month - 1], 3);
	p[3] = ' ';
	p = s3_digits(p + 4, c.year, 4);
	*p++ = ' ';
	p = s3_digits(p, c.hour, 2);
	*p++ = ':';
	p = s3_digits(p, c.min, 2);
	*p++ = ':';
	p = s3_digits(p, c.sec, 2);
	memcpy(p, " GMT", 5);
}

void s3_time_amz(int64_t sec, char out[S3_TIME_AMZ_LEN + 1])
{
	struct s3_civil c = s3_civil_from_sec(sec);
	char *p = s3_digits(out, c.year, 4);

	p = s3_digits(p, c.month, 2);
	p = s3_digits(p, c.day, 2);
	*p++ = 'T';
	p = s3_digits(p, c.hour, 2);
	p = s3_digits(p, c.min, 2);
	p = s3_digits(p, c.sec, 2);
	*p++ = 'Z';
	*p = '\0';
}

/* --- parsing: a cursor over the text; every step says whether it fitted --- */

struct s3_cursor {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static void s3_take_lit(struct s3_cursor *c, const char *lit)
{
	size_t n = strlen(lit);

	if (c->bad || c->left < n || memcmp(c->p, lit, n) != 0) {
		c->bad = true;
		return;
	}
	c->p += n;
	c->left -= n;
}

static unsigned s3_take_num(struct s3_cursor *c, unsigned digits)
{
	unsigned v = 0;

	if (c->bad || c->left < digits) {
		c->bad = true;
		return 0;
	}
	for (unsigned i = 0; i < digits; i++) {
		if (c->p[i] < '0' || c->p[i] > '9') {
			c->bad = true;
			return 0;
		}
		v = v * 10 + (unsigned)(c->p[i] - '0');
	}
	c->p += digits;
	c->left -= digits;
	return v;
}

static unsigned s3_take_month(struct s3_cursor *c)
{
	if (!c->bad && c->left >= 3)
		for (unsigned i = 0; i < 12; i++)
			if (memcmp(c->p, s3_months[i], 3) == 0) {
				c->p += 3;
				c->left -= 3;
				return i + 1;
			}
	c->bad = true;
	return 1;
}

static unsigned s3_month_days(unsigned year, unsigned month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30,
					31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap ? 1u : 0u);
}

static int s3_finish(const struct s3_cursor *c, const struct s3_civil *t,
		     int64_t *ret_sec)
{
	if (c->bad || c->left != 0 || t->month < 1 || t->month > 12 ||
	    t->day < 1 || t->day > s3_month_days(t->year, t->month) ||
	    t->hour > 23 || t->min > 59 || t->sec > 60)
		return -EINVAL;
	*ret_sec = s3_days_from_civil(t->year, t->month, t->day) * 86400 +
		   t->hour * 3600 + t->min * 60 + t->sec;
	return 0;
}

static void s3_take_clock(struct s3_cursor *c, struct s3_civil *t)
{
	t->hour = s3_take_num(c, 2);
	s3_take_lit(c, ":");
	t->min = s3_take_num(c, 2);
	s3_take_lit(c, ":");
	t->sec = s3_take_num(c, 2);
}

int s3_time_parse_amz(struct wire_bytes text, int64_t *ret_sec)
{
	struct s3_cursor c = { text.p, text.len, false };
	struct s3_civil t = { 0 };

	t.year = s3_take_num(&c, 4);
	t.month = s3_take_num(&c, 2);
	t.day = s3_take_num(&c, 2);
	s3_take_lit(&c, "T");
	t.hour = s3_take_num(&c, 2);
	t.min = s3_take_num(&c, 2);
	t.sec = s3_take_num(&c, 2);
	s3_take_lit(&c, "Z");
	return s3_finish(&c, &t, ret_sec);
}

int s3_time_parse_iso(struct wire_bytes text, int64_t *ret_sec)
{
	struct s3_cursor c = { text.p, text.len, false };
	struct s3_civil t = { 0 };

	t.year = s3_take_num(&c, 4);
	s3_take_lit(&c, "-");
	t.month = s3_take_num(&c, 2);
	s3_take_lit(&c, "-");
	t.day = s3_take_num(&c, 2);
	s3_take_lit(&c, "T");
	s3_take_clock(&c, &t);
	if (!c.bad && c.left > 0 && *c.p == '.') {
		s3_take_lit(&c, ".");
		(void)s3_take_num(&c, 1); /* at least one digit */
		while (!c.bad && c.left > 0 && *c.p >= '0' && *c.p <= '9')
			(void)s3_take_num(&c, 1);
	}
	s3_take_lit(&c, "Z");
	return s3_finish(&c, &t, ret_sec);
}

/* Sunday, 06-Nov-94 08:49:37 GMT */
static void s3_parse_rfc850(struct s3_cursor *c, struct s3_civil *t)
{
	t->day = s3_take_num(c, 2);
	s3_take_lit(c, "-");
	t->month = s3_take_month(c);
	s3_take_lit(c, "-");
	t->year = s3_take_num(c, 2);
	t->year += t->year < 70 ? 2000 : 1900;
	s3_take_lit(c, " ");
	s3_take_clock(c, t);
	s3_take_lit(c, " GMT");
}

/* Nov  6 08:49:37 1994 */
static void s3_parse_asctime(struct s3_cursor *c, struct s3_civil *t)
{
	t->month = s3_take_month(c);
	s3_take_lit(c, " ");
	if (!c->bad && c->left > 0 && *c->p == ' ') {
		s3_take_lit(c, " ");
		t->day = s3_take_num(c, 1);
	} else {
		t->day = s3_take_num(c, 2);
	}
	s3_take_lit(c, " ");
	s3_take_clock(c, t);
	s3_take_lit(c, " ");
	t->year = s3_take_num(c, 4);
}

int s3_time_parse_http(struct wire_bytes text, int64_t *ret_sec)
{
	struct s3_cursor c = { text.p, text.len, false };
	struct s3_civil t = { 0 };
	size_t day = 0;

	/* The weekday says which form it is; whether it is true is nobody's
	 * concern. */
	while (day < c.left && c.p[day] >= 'A' && c.p[day] <= 'z')
		day++;
	c.p += day;
	c.left -= day;
	if (day > 3) {
		s3_take_lit(&c, ", ");
		s3_parse_rfc850(&c, &t);
	} else if (c.left > 0 && *c.p == ',') {
		s3_take_lit(&c, ", ");
		t.day = s3_take_num(&c, 2);
		s3_take_lit(&c, " ");
		t.month = s3_take_month(&c);
		s3_take_lit(&c, " ");
		t.year = s3_take_num(&c, 4);
		s3_take_lit(&c, " ");
		s3_take_clock(&c, &t);
		s3_take_lit(&c, " GMT");
	} else {
		s3_take_lit(&c, " ");
		s3_parse_asctime(&c, &t);
	}
	return s3_finish(&c, &t, ret_sec);
}
