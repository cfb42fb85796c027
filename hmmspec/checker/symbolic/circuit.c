/* Can these formulas hold together?  Asked of one growing circuit of conjunctions and negations, thousands of times.

   A literal is a formula of formulas.py: twice the number of a node, plus one where it is negated; node 0 always holds.
   Three clauses say what a conjunction is.  They are made when it is first asked about, and each question is about the
   nodes under what it assumes and what is required: the others can always be made to fit, so nobody looks at them.
   Clauses are learned from conflicts, and kept; leaves are decided first, as the rest of a circuit follows from them.

   N. Een, N. Sorensson, "An extensible SAT-solver", 2003. */

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TRUE 1
#define FALSE -1

typedef struct {
    int size, learned, gone;
    float activity;
    int32_t lits[]; /* the first two are watched */
} clause;

typedef struct {
    clause *of;
    int32_t other; /* a literal of the clause: where it holds the clause does */
} watch;

typedef struct {
    watch *at;
    int count, room;
} watches;

typedef struct {
    int nodes, room;
    int32_t *parts;   /* two of each node; -1: a leaf */
    uint8_t *active;  /* of a node: its clauses are there */
    uint32_t *asked;  /* of a node: the last question that it was part of */
    uint8_t *model;   /* of a node */
    int8_t *value;    /* of a literal: TRUE, FALSE, 0 */
    watches *watched; /* of a literal: the clauses to look at when it fails */
    int *level;       /* of a node, as are all below */
    clause **reason;
    uint8_t *phase, *seen;
    double *activity;
    int *place;       /* in the heap, -1: not there */
    int32_t *trail, *heap, *cone, *todo, *core, *learnt;
    int trail_count, heap_count, cone_count, core_count, head;
    int *ends;        /* of the trail, where each level began */
    int level_now, ends_room;
    int32_t *required;
    int required_count, required_room;
    clause **learned;
    int learned_count, learned_room, learned_most;
    uint32_t question;
    double step;
    float clause_step;
    int64_t forgotten; /* clauses, of those that were learned */
    int contradiction, evaluated;
    jmp_buf out; /* where to go when there is no memory */
} circuit;

static void *sized(circuit *s, void *old, size_t count, size_t size)
{
    void *made = realloc(old, (count ? count : 1) * size);
    if (!made)
        longjmp(s->out, 1);
    return made;
}

#define GROW(s, array, count) ((array) = sized(s, array, count, sizeof *(array)))

/* ------------------------------------------------------------ the heap: what to decide next */

static int before(circuit *s, int a, int b)
{
    return s->activity[a] > s->activity[b];
}

static void up(circuit *s, int i)
{
    int node = s->heap[i];
    for (; i && before(s, node, s->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        s->heap[i] = s->heap[(i - 1) / 2];
        s->place[s->heap[i]] = i;
    }
    s->heap[i] = node;
    s->place[node] = i;
}

static void down(circuit *s, int i)
{
    int node = s->heap[i];
    for (int k; (k = 2 * i + 1) < s->heap_count; i = k) {
        if (k + 1 < s->heap_count && before(s, s->heap[k + 1], s->heap[k]))
            k++;
        if (!before(s, s->heap[k], node))
            break;
        s->heap[i] = s->heap[k];
        s->place[s->heap[i]] = i;
    }
    s->heap[i] = node;
    s->place[node] = i;
}

static void push(circuit *s, int node)
{
    if (s->place[node] >= 0 || s->asked[node] != s->question)
        return;
    s->heap[s->heap_count] = node;
    s->place[node] = s->heap_count;
    up(s, s->heap_count++);
}

static int pop(circuit *s)
{
    int node = s->heap[0];
    s->place[node] = -1;
    if (--s->heap_count) {
        s->heap[0] = s->heap[s->heap_count];
        s->place[s->heap[0]] = 0;
        down(s, 0);
    }
    return node;
}

static void bump(circuit *s, int node)
{
    if ((s->activity[node] += s->step) > 1e100) {
        for (int i = 0; i < s->nodes; i++)
            s->activity[i] *= 1e-100;
        s->step *= 1e-100;
    }
    if (s->place[node] >= 0)
        up(s, s->place[node]);
}

static void bump_clause(circuit *s, clause *c)
{
    if ((c->activity += s->clause_step) > 1e20f) {
        for (int i = 0; i < s->learned_count; i++)
            s->learned[i]->activity *= 1e-20f;
        s->clause_step *= 1e-20f;
    }
}

/* ------------------------------------------------------------ the trail */

static void assign(circuit *s, int32_t lit, clause *why)
{
    s->value[lit] = TRUE;
    s->value[lit ^ 1] = FALSE;
    s->level[lit >> 1] = s->level_now;
    s->reason[lit >> 1] = why;
    s->trail[s->trail_count++] = lit;
}

static void decide(circuit *s, int32_t lit) /* -1: a level without a decision */
{
    if (s->level_now + 1 >= s->ends_room) {
        s->ends_room = 2 * s->ends_room + 64;
        GROW(s, s->ends, s->ends_room);
    }
    s->ends[s->level_now++] = s->trail_count;
    if (lit >= 0)
        assign(s, lit, NULL);
}

static void back_to(circuit *s, int level)
{
    if (s->level_now <= level)
        return;
    while (s->trail_count > s->ends[level]) {
        int32_t lit = s->trail[--s->trail_count];
        s->value[lit] = s->value[lit ^ 1] = 0;
        s->phase[lit >> 1] = !(lit & 1);
        s->reason[lit >> 1] = NULL;
        push(s, lit >> 1);
    }
    s->head = s->trail_count;
    s->level_now = level;
}

/* ------------------------------------------------------------ clauses */

static void watch_it(circuit *s, int32_t lit, clause *c, int32_t other)
{
    watches *w = &s->watched[lit];
    if (w->count == w->room) {
        int room = 2 * w->room + 4;
        GROW(s, w->at, room);
        w->room = room;
    }
    w->at[w->count++] = (watch){c, other};
}

static clause *made(circuit *s, const int32_t *lits, int size, int learned)
{
    clause *c = sized(s, NULL, 1, sizeof *c + size * sizeof *lits);
    *c = (clause){size, learned, 0, 0};
    memcpy(c->lits, lits, size * sizeof *lits);
    if (learned) { /* first, so that it is given back whatever comes */
        if (s->learned_count == s->learned_room) {
            int room = 2 * s->learned_room + 256;
            clause **grown = realloc(s->learned, room * sizeof *grown);
            if (!grown) {
                free(c);
                longjmp(s->out, 1);
            }
            s->learned = grown;
            s->learned_room = room;
        }
        s->learned[s->learned_count++] = c;
    }
    watch_it(s, lits[0], c, lits[1]);
    watch_it(s, lits[1], c, lits[0]);
    return c;
}

/* One that is there before anything is decided. */
static void given(circuit *s, const int32_t *lits, int size)
{
    int32_t left[3];
    int count = 0;
    for (int i = 0; i < size; i++) {
        if (s->value[lits[i]] == TRUE)
            return;
        if (!s->value[lits[i]])
            left[count++] = lits[i];
    }
    if (!count)
        s->contradiction = 1;
    else if (count == 1)
        assign(s, left[0], NULL);
    else
        made(s, left, count, 0);
}

/* What is no part of the question is left alone: clauses with it can be made to hold.  Before anything is decided all
   is looked at, as what is found then stays. */
static int outside(circuit *s, int32_t lit)
{
    return s->level_now && s->asked[lit >> 1] != s->question;
}

static clause *propagate(circuit *s)
{
    while (s->head < s->trail_count) {
        int32_t failed = s->trail[s->head++] ^ 1;
        watches *w = &s->watched[failed];
        int i = 0, j = 0, count = w->count;
        watch *at = w->at;
        while (i < count) {
            watch here = at[i++];
            if (s->value[here.other] == TRUE || outside(s, here.other)) {
                at[j++] = here;
                continue;
            }
            clause *c = here.of;
            if (c->lits[0] == failed) {
                c->lits[0] = c->lits[1];
                c->lits[1] = failed;
            }
            int32_t first = c->lits[0];
            here.other = first;
            if (s->value[first] == TRUE || outside(s, first)) {
                at[j++] = here;
                continue;
            }
            int k = 2;
            while (k < c->size && s->value[c->lits[k]] == FALSE)
                k++;
            if (k < c->size) {
                c->lits[1] = c->lits[k];
                c->lits[k] = failed;
                watch_it(s, c->lits[1], c, first);
                continue;
            }
            at[j++] = here;
            if (s->value[first] == FALSE) {
                while (i < count)
                    at[j++] = at[i++];
                w->count = j;
                s->head = s->trail_count;
                return c;
            }
            assign(s, first, c);
        }
        w->count = j;
    }
    return NULL;
}

/* ------------------------------------------------------------ conflicts */

/* Whether the literal follows from others of the learned clause. */
static int follows(circuit *s, int32_t lit)
{
    clause *c = s->reason[lit >> 1];
    if (!c)
        return 0;
    for (int i = 1; i < c->size; i++)
        if (!s->seen[c->lits[i] >> 1] && s->level[c->lits[i] >> 1])
            return 0;
    return 1;
}

/* Learn a clause: into `learnt`, its size; the level to go back to. */
static int analysed(circuit *s, clause *c, int *level)
{
    int count = 1, open = 0, at = s->trail_count - 1, kept = 1;
    int32_t lit = -1;
    for (;;) {
        if (c->learned)
            bump_clause(s, c);
        for (int i = lit < 0 ? 0 : 1; i < c->size; i++) {
            int node = c->lits[i] >> 1;
            if (s->seen[node] || !s->level[node])
                continue;
            s->seen[node] = 1;
            bump(s, node);
            if (s->level[node] >= s->level_now)
                open++;
            else
                s->learnt[count++] = c->lits[i];
        }
        while (!s->seen[s->trail[at] >> 1])
            at--;
        lit = s->trail[at--];
        c = s->reason[lit >> 1];
        s->seen[lit >> 1] = 0;
        if (!--open)
            break;
    }
    s->learnt[0] = lit ^ 1;
    /* `todo` remembers what has to be forgotten */
    memcpy(s->todo, s->learnt, count * sizeof *s->todo);
    for (int i = 1; i < count; i++)
        if (!follows(s, s->learnt[i]))
            s->learnt[kept++] = s->learnt[i];
    for (int i = 1; i < count; i++)
        s->seen[s->todo[i] >> 1] = 0;
    *level = 0;
    for (int i = 1; i < kept; i++)
        if (s->level[s->learnt[i] >> 1] > *level) {
            int32_t highest = s->learnt[i];
            s->learnt[i] = s->learnt[1];
            s->learnt[1] = highest;
            *level = s->level[highest >> 1];
        }
    return kept;
}

/* The assumptions because of which this one cannot hold. */
static void explain(circuit *s, int32_t lit)
{
    s->core_count = 0;
    s->core[s->core_count++] = lit;
    if (!s->level_now || !s->level[lit >> 1])
        return;
    s->seen[lit >> 1] = 1;
    for (int i = s->trail_count - 1; i >= s->ends[0]; i--) {
        int node = s->trail[i] >> 1;
        if (!s->seen[node])
            continue;
        s->seen[node] = 0;
        clause *c = s->reason[node];
        if (!c)
            s->core[s->core_count++] = s->trail[i];
        else
            for (int k = 1; k < c->size; k++)
                if (s->level[c->lits[k] >> 1])
                    s->seen[c->lits[k] >> 1] = 1;
    }
    s->seen[lit >> 1] = 0;
}

static int less_active(const void *a, const void *b)
{
    float x = (*(clause *const *)a)->activity, y = (*(clause *const *)b)->activity;
    return (x > y) - (x < y);
}

/* Half of what was learned helps little. */
static void forget(circuit *s)
{
    int kept = 0, half = s->learned_count / 2;
    qsort(s->learned, s->learned_count, sizeof *s->learned, less_active);
    for (int i = 0; i < half; i++) {
        clause *c = s->learned[i];
        c->gone = c->size > 2 && s->reason[c->lits[0] >> 1] != c;
    }
    for (int lit = 0; lit < 2 * s->nodes; lit++) {
        watches *w = &s->watched[lit];
        int j = 0;
        for (int i = 0; i < w->count; i++)
            if (!w->at[i].of->gone)
                w->at[j++] = w->at[i];
        w->count = j;
    }
    for (int i = 0; i < s->learned_count; i++)
        if (s->learned[i]->gone)
            free(s->learned[i]);
        else
            s->learned[kept++] = s->learned[i];
    s->forgotten += s->learned_count - kept;
    s->learned_count = kept;
    s->learned_most += s->learned_most / 10;
}

/* ------------------------------------------------------------ questions */

/* All nodes under the formula are part of this question. */
static void include(circuit *s, int32_t formula)
{
    int count = 0;
    s->todo[count++] = formula >> 1;
    while (count) {
        int node = s->todo[--count];
        if (s->asked[node] == s->question)
            continue;
        s->asked[node] = s->question;
        s->cone[s->cone_count++] = node;
        int32_t a = s->parts[2 * node], b = s->parts[2 * node + 1], n = 2 * node;
        if (a < 0)
            continue;
        if (!s->active[node]) {
            s->active[node] = 1;
            given(s, (int32_t[]){n ^ 1, a}, 2);
            given(s, (int32_t[]){n ^ 1, b}, 2);
            given(s, (int32_t[]){n, a ^ 1, b ^ 1}, 3);
        }
        if (s->asked[a >> 1] != s->question)
            s->todo[count++] = a >> 1;
        if (s->asked[b >> 1] != s->question)
            s->todo[count++] = b >> 1;
    }
}

static void remember(circuit *s)
{
    memset(s->model, 0, s->nodes);
    for (int i = 0; i < s->cone_count; i++)
        s->model[s->cone[i]] = s->value[2 * s->cone[i]] == TRUE;
    s->evaluated = 0;
}

/* 1, 2, 1, 2, 4, .. : M. Luby et al., "Optimal speedup of Las Vegas algorithms", 1993. */
static int luby(int i)
{
    int size = 1, power = 0;
    while (size < i + 1) {
        size = 2 * size + 1;
        power++;
    }
    while (size - 1 != i) {
        size = (size - 1) / 2;
        power--;
        i %= size;
    }
    return 1 << power;
}

static int search(circuit *s, int count, const int32_t *assumed, int64_t conflicts)
{
    int restarts = 0, until = 100;
    for (;;) {
        clause *c = propagate(s);
        if (c) {
            if (!s->level_now) {
                s->contradiction = 1;
                return 0;
            }
            int level, size = analysed(s, c, &level);
            back_to(s, level);
            if (size == 1)
                assign(s, s->learnt[0], NULL);
            else {
                clause *new = made(s, s->learnt, size, 1);
                bump_clause(s, new);
                assign(s, s->learnt[0], new);
            }
            s->step /= 0.95;
            s->clause_step /= 0.999f;
            if (--conflicts < 0)
                return -1;
            until--;
            continue;
        }
        if (until <= 0) {
            until = 100 * luby(++restarts);
            back_to(s, 0);
            continue;
        }
        if (s->learned_count > s->learned_most + s->trail_count)
            forget(s);
        int32_t next = -1;
        while (next < 0 && s->level_now < count) {
            int32_t lit = assumed[s->level_now];
            if (s->value[lit] == FALSE) {
                explain(s, lit);
                return 0;
            }
            if (s->value[lit] == TRUE)
                decide(s, -1);
            else
                next = lit;
        }
        while (next < 0 && s->heap_count) {
            int node = pop(s);
            if (!s->value[2 * node])
                next = 2 * node + !s->phase[node];
        }
        if (next < 0) {
            remember(s);
            return 1;
        }
        decide(s, next);
    }
}

/* ------------------------------------------------------------ for Python */

void circuit_free(circuit *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->learned_count; i++)
        s->learned[i]->gone = 1;
    for (int lit = 0; s->watched && lit < 2 * s->nodes; lit++) {
        watches *w = &s->watched[lit];
        for (int i = 0; i < w->count; i++) { /* a given clause is watched twice, and given back the second time */
            clause *c = w->at[i].of;
            if (!c->learned && c->gone++)
                free(c);
        }
        free(w->at);
    }
    for (int i = 0; i < s->learned_count; i++)
        free(s->learned[i]);
    void *all[] = {s->parts, s->active, s->asked, s->model, s->value, s->watched, s->level, s->reason, s->phase, s->seen,
                   s->activity, s->place, s->trail, s->heap, s->cone, s->todo, s->core, s->learnt, s->ends, s->required,
                   s->learned};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(s);
}

/* most: learned clauses that are kept, at first. */
circuit *circuit_new(int most)
{
    circuit *s = calloc(1, sizeof *s);
    if (s) {
        s->step = 1;
        s->clause_step = 1;
        s->learned_most = most;
    }
    return s;
}

/* More nodes, two parts of each.  -2: no memory (as everywhere; the circuit is of no use then). */
int circuit_extend(circuit *s, int count, const int32_t *parts)
{
    if (setjmp(s->out))
        return -2;
    int nodes = s->nodes + count;
    if (nodes > s->room) {
        int room = 2 * s->room > nodes ? 2 * s->room : nodes;
        GROW(s, s->parts, 2 * room);
        GROW(s, s->active, room);
        GROW(s, s->asked, room);
        GROW(s, s->model, room);
        GROW(s, s->value, 2 * room);
        GROW(s, s->watched, 2 * room);
        GROW(s, s->level, room);
        GROW(s, s->reason, room);
        GROW(s, s->phase, room);
        GROW(s, s->seen, room);
        GROW(s, s->activity, room);
        GROW(s, s->place, room);
        GROW(s, s->trail, room);
        GROW(s, s->heap, room);
        GROW(s, s->cone, room);
        GROW(s, s->todo, 2 * room + 2);
        GROW(s, s->core, room + 1);
        GROW(s, s->learnt, room + 1);
        s->room = room;
    }
    memcpy(s->parts + 2 * s->nodes, parts, 2 * count * sizeof *parts);
    for (int i = s->nodes; i < nodes; i++) {
        s->active[i] = s->asked[i] = s->model[i] = s->level[i] = s->phase[i] = s->seen[i] = 0;
        s->value[2 * i] = s->value[2 * i + 1] = 0;
        s->watched[2 * i] = s->watched[2 * i + 1] = (watches){NULL, 0, 0};
        s->reason[i] = NULL;
        s->activity[i] = s->parts[2 * i] < 0 ? 1e-3 : 0;
        s->place[i] = -1;
    }
    int first = !s->nodes && nodes;
    s->nodes = nodes;
    if (first)
        assign(s, 0, NULL);
    return 0;
}

/* From now on this holds. */
int circuit_require(circuit *s, int32_t formula)
{
    if (setjmp(s->out))
        return -2;
    if (s->required_count == s->required_room) {
        s->required_room = 2 * s->required_room + 8;
        GROW(s, s->required, s->required_room);
    }
    s->required[s->required_count++] = formula;
    s->question++;
    s->cone_count = 0;
    include(s, formula);
    given(s, &formula, 1);
    return 0;
}

/* Can these hold together?  1: yes; 0: no; -1: not known after so many conflicts. */
int circuit_solve(circuit *s, int count, const int32_t *assumed, int64_t conflicts)
{
    s->core_count = 0;
    if (setjmp(s->out))
        return -2;
    s->question++;
    s->cone_count = 0;
    for (int i = 0; i < s->required_count; i++)
        include(s, s->required[i]);
    for (int i = 0; i < count; i++)
        include(s, assumed[i]);
    if (s->contradiction)
        return 0;
    for (int i = 0; i < s->heap_count; i++)
        s->place[s->heap[i]] = -1;
    s->heap_count = 0;
    for (int i = 0; i < s->cone_count; i++)
        if (!s->value[2 * s->cone[i]]) {
            s->heap[s->heap_count] = s->cone[i];
            s->place[s->cone[i]] = s->heap_count++;
        }
    for (int i = s->heap_count / 2 - 1; i >= 0; i--)
        down(s, i);
    int answer = search(s, count, assumed, conflicts);
    back_to(s, 0);
    return answer;
}

/* How many learned clauses were given up. */
int64_t circuit_forgotten(circuit *s)
{
    return s->forgotten;
}

/* After a no: assumptions that suffice for it. */
int circuit_core(circuit *s, const int32_t **core)
{
    *core = s->core;
    return s->core_count;
}

/* After a yes: whether each of these holds, where leaves that nobody asked about do not. */
void circuit_values(circuit *s, int count, const int32_t *formulas, uint8_t *values)
{
    if (!s->evaluated) {
        s->model[0] = 1;
        for (int i = 1; i < s->nodes; i++) {
            int32_t a = s->parts[2 * i], b = s->parts[2 * i + 1];
            if (a >= 0)
                s->model[i] = (s->model[a >> 1] ^ (a & 1)) & (s->model[b >> 1] ^ (b & 1));
        }
        s->evaluated = 1;
    }
    for (int i = 0; i < count; i++)
        values[i] = s->model[formulas[i] >> 1] ^ (formulas[i] & 1);
}
