/* Barriers that count bytes, boxes and products of four warps (hopper_emulated.h says when what happens). The
 * layouts are those of PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions", read
 * from a factor's bits as a card does, so that a wrong distance or transposition is a wrong result. */
#include "hopper_emulated.h"
#include "launch.h"
#include <deque>
#include <random>
#include <stdlib.h>
#include <utility>
#include <vector>

enum {
    TEAM = 128,
    PERIOD = 1024,
    BOX_ROW = 128,
    TERMS = 16,
    ROWS = 64,
    MOST_COLUMNS = 128,
    MOST_BYTES = 1 << 20
};

/* Bytes may come before they are expected. */
struct EmulatedBarrier {
    int arrivals, arrived, bytes, turn;
    bool published;
};

/* A late one arrives when no thread can go on without it; so do a team's products. */
struct Box {
    char *to;
    CUtensorMap map;
    int row, column;
    EmulatedBarrier *barrier;
    bool late;
};

struct Thread {
    std::vector<EmulatedProduct> products;
    int groups = 0;
    bool fenced = false;
};

/* Four warps, which wait for their products together. */
struct Team {
    Thread threads[TEAM];
    int pending = 0, waiting = 0, turn = 0;
    bool late = false;
};

/* `seen` is shared memory as products see it: what boxes brought, and what threads have shown. */
struct Hopper {
    std::vector<char> seen = std::vector<char>(block_shared(), (char)0xFF);
    std::deque<EmulatedBarrier> barriers;
    std::vector<Box> boxes;
    Team teams[MOST_THREADS / TEAM];
};

static Hopper &hopper() {
    std::shared_ptr<Hopper> &mine = block_hopper();
    if (!mine) mine = std::make_shared<Hopper>();
    return *mine;
}

static std::mt19937 random_bits;

/* ---- shared memory ---- */

static char *period_first() {
    return (char *)((uintptr_t)shared / PERIOD * PERIOD);
}

uint32_t shared_address(const void *at) {
    return (uint32_t)((const char *)at - period_first());
}

/* Where 16 bytes are in `shared`. */
static size_t shared_place(size_t address) {
    const size_t place = address - shared_address(shared);
    CHECK(place < block_shared() && place + 16 <= block_shared(),
          "a box or factor outside the block's shared memory");
    return place;
}

/* Sixteen bytes trade places within 128, by the 128 that they are in. */
static size_t swizzle(size_t address) {
    return address ^ (address / BOX_ROW % 8) * 16;
}

/* ---- barriers ---- */

static EmulatedBarrier *barrier_of(const Barrier *b) {
    for (EmulatedBarrier &known : hopper().barriers)
        if (&known == *b) return *b;
    die(__FILE__, __LINE__, "a barrier is used before it is initialised");
}

void barrier_init(Barrier *b, int arrivals) {
    hopper().barriers.push_back({arrivals, 0, 0, 0, false});
    *b = &hopper().barriers.back();
}

void barriers_publish() {
    for (EmulatedBarrier &b : hopper().barriers) b.published = true;
}

/* Ends the phase if that was the last of it. */
static void barrier_count(EmulatedBarrier *b, int arrived, int bytes) {
    b->arrived += arrived, b->bytes += bytes;
    CHECK(b->arrived <= b->arrivals, "%d arrivals at a barrier for %d", b->arrived, b->arrivals);
    CHECK(abs(b->bytes) < MOST_BYTES, "a barrier for %d bytes", b->bytes);
    if (b->arrived == b->arrivals && b->bytes == 0) b->arrived = 0, b->turn++;
}

void barrier_arrive(Barrier *b) {
    barrier_count(barrier_of(b), 1, 0);
}

void barrier_expect(Barrier *b, int bytes) {
    barrier_count(barrier_of(b), 1, bytes);
}

void barrier_wait(Barrier *b, int parity) {
    const EmulatedBarrier *barrier = barrier_of(b);
    while (barrier->turn % 2 == parity) fiber_pause(&barrier->turn);
}

/* ---- boxes ---- */

CUtensorMap box_map(const void *data, DType dtype, int64_t rows, int columns, int box) {
    CHECK(dtype_size(dtype) == 2 && (uintptr_t)data % 16 == 0 && columns % 8 == 0 && box <= 256,
          "a matrix of %lld x %d at %p cannot be copied in boxes", (long long)rows, columns, data);
    return {(const char *)data, rows, columns, box};
}

void box_begin(void *to, const CUtensorMap &map, int row, int column, Barrier *b) {
    EmulatedBarrier *barrier = barrier_of(b);
    CHECK((uintptr_t)to % PERIOD == 0, "a box does not begin at a multiple of %d bytes", PERIOD);
    CHECK(barrier->published, "a box gets a barrier that was not published");
    hopper().boxes.push_back({(char *)to, map, row, column, barrier, random_bits() % 2 == 0});
}

/* Eight numbers of a row at a time; zeros outside the matrix. */
static void box_arrive(const Box &box) {
    const CUtensorMap &map = box.map;
    const size_t first = shared_address(box.to);
    for (int i = 0; i < map.box * 8; i++) {
        const int64_t row = box.row + i / 8, column = box.column + i % 8 * 8;
        const bool inside = row >= 0 && row < map.rows && column >= 0 && column < map.columns;
        const size_t to = shared_place(swizzle(first + (size_t)i * 16));
        const uint4 eight =
            inside ? *(const uint4 *)(map.data + (row * map.columns + column) * 2) : uint4{0, 0, 0, 0};
        memcpy((char *)shared + to, &eight, sizeof eight);
        memcpy(&hopper().seen[to], &eight, sizeof eight);
    }
    barrier_count(box.barrier, 0, -map.box * BOX_ROW);
}

static bool boxes_move(Hopper &h, bool must) {
    if (h.boxes.empty()) return false;
    std::swap(h.boxes[random_bits() % h.boxes.size()], h.boxes.back());
    if (h.boxes.back().late && !must) return false;
    box_arrive(h.boxes.back());
    h.boxes.pop_back();
    return true;
}

/* ---- products ---- */

static Team &team() {
    return hopper().teams[thread_number() / TEAM];
}

static Thread &thread() {
    return team().threads[thread_number() % TEAM];
}

void products_fence() {
    thread().fenced = true;
}

void products_see() {
    memcpy(hopper().seen.data(), shared, block_shared());
}

void products_commit() {
    thread().groups++;
}

void emulate_product(EmulatedProduct product) {
    Thread &mine = thread();
    CHECK(mine.fenced, "products begin, and nothing fences what was in their registers before");
    product.group = mine.groups;
    mine.products.push_back(product);
}

/* Where eight numbers lie that are neighbours in memory: terms of a row or, by terms, rows of a term. */
static const char *factor_eight(uint64_t factor, bool by_terms, int row, int term) {
    const size_t first = (factor & 0x3fff) << 4, leading = (factor >> 16 & 0x3fff) << 4,
                 stride = (factor >> 32 & 0x3fff) << 4;
    const bool swizzled = factor >> 62 == 1;
    CHECK(swizzled || (factor >> 62 == 0 && !by_terms), "a factor's layout is not emulated");
    const size_t at = by_terms   ? row / 64 * leading + row % 64 * 2 + term % 8 * BOX_ROW + term / 8 * stride
                      : swizzled ? row % 8 * BOX_ROW + row / 8 * stride + term * 2
                                 : row % 8 * 16 + row / 8 * stride + term / 8 * leading;
    return &hopper().seen[shared_place(swizzled ? swizzle(first + at) : first + at)];
}

typedef float Factor[TERMS][MOST_COLUMNS];

static void factor_read(uint64_t factor, bool by_terms, int rows, const EmulatedProduct &p, Factor &to) {
    for (int row = 0; row < rows; row += by_terms ? 8 : 1)
        for (int term = 0; term < TERMS; term += by_terms ? 1 : 8) {
            float eight[8];
            p.widen(factor_eight(factor, by_terms, row, term), eight);
            for (int i = 0; i < 8; i++) to[by_terms ? term : term + i][by_terms ? row + i : row] = eight[i];
        }
}

typedef float Result[ROWS][MOST_COLUMNS];

/* A number of columns that the compiler knows is many times as fast. */
template <int COLUMNS> static void factors_multiply(const Factor &left, const Factor &right, Result &result) {
    for (int row = 0; row < ROWS; row++)
        for (int term = 0; term < TERMS; term++)
            for (int column = 0; column < COLUMNS; column++)
                result[row][column] += left[term][row] * right[term][column];
}

/* What thread `number` of the team has of the result. */
static void product_take(const EmulatedProduct &p, const Result &result, int number) {
    const int lane = number % WARP, row = number / WARP * 16 + lane / 4, column = lane % 4 * 2;
    for (int i = 0; i < p.columns / 2; i++) {
        const float value = result[row + i / 2 % 2 * 8][column + i / 4 * 8 + i % 2];
        p.sum[i] = p.adds ? p.sum[i] + value : value;
    }
}

static bool product_same(const EmulatedProduct &a, const EmulatedProduct &b) {
    return a.left == b.left && a.right == b.right && a.columns == b.columns && a.adds == b.adds &&
           a.group == b.group && a.widen == b.widen;
}

/* Product i of those that are under way. */
static void product_finish(const Team &team, size_t i) {
    const EmulatedProduct &p = team.threads[0].products[i];
    Factor left, right;
    Result result = {};
    factor_read(p.left, p.left_by_terms, ROWS, p, left);
    factor_read(p.right, p.right_by_terms, p.columns, p, right);
    if (p.columns == MOST_COLUMNS)
        factors_multiply<MOST_COLUMNS>(left, right, result);
    else
        factors_multiply<8>(left, right, result);
    for (int number = 0; number < TEAM; number++) {
        const std::vector<EmulatedProduct> &theirs = team.threads[number].products;
        CHECK(i < theirs.size() && product_same(p, theirs[i]), "four warps do not begin the same products");
        product_take(theirs[i], result, number);
    }
}

/* All but the newest `pending` groups of those that were committed. */
static void team_finish(Team &team) {
    const Thread &first = team.threads[0];
    size_t finished = 0;
    for (; finished < first.products.size(); finished++) {
        if (first.products[finished].group >= first.groups - team.pending) break;
        product_finish(team, finished);
    }
    for (Thread &thread : team.threads)
        thread.products.erase(thread.products.begin(), thread.products.begin() + finished);
    team.waiting = 0, team.turn++;
}

/* Its registers may change afterwards, so that a fence is due before the next product. */
void emulate_products_wait(int pending) {
    Team &mine = team();
    CHECK(!mine.waiting || mine.pending == pending, "four warps do not wait for the same products");
    thread().fenced = false;
    mine.pending = pending;
    if (++mine.waiting == TEAM) mine.late = random_bits() % 2;
    fiber_pause(&mine.turn);
}

static bool teams_move(Hopper &h, bool must) {
    for (Team &team : h.teams)
        if (team.waiting == TEAM && (must || !team.late)) {
            team_finish(team);
            return true;
        }
    return false;
}

/* ---- a block ---- */

bool hopper_move(Hopper &h, bool must) {
    if (random_bits() % 2) return boxes_move(h, must) || teams_move(h, must);
    return teams_move(h, must) || boxes_move(h, must);
}

void hopper_end(const Hopper &h) {
    CHECK(h.boxes.empty(), "a block ended and did not wait for its boxes");
    for (const Team &team : h.teams)
        for (const Thread &thread : team.threads)
            CHECK(thread.products.empty(), "a thread ended and did not wait for its products");
}
