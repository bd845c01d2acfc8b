// A classical order book as the single-core line to print beside ours: one array of price levels,
// an intrusive first-in first-out list per level, one table from order id to order. No outputs are
// stored per message, so this is an upper line, not an equal one.
//
//   ladder FLOW ROUNDS
//
// FLOW holds int32: books; per book the counts of warm-up and timed messages, then their rows
// (kind, side, price, size, order id, owner; kind 1 limit, 3 cancel; side 0 buy, 1 sell).
// Prints one line per round with its seconds, then the shares traded in the timed messages and a
// hash of all resting orders in priority order.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace {

constexpr int kLimit = 1;
constexpr int kCancel = 3;
constexpr int kBuy = 0;
constexpr int kNone = -1;
constexpr int kLevels = 20000;  // prices 0 ... kLevels - 1, in ticks

struct Message {
  int32_t kind, side, price, size, id, owner;
};

struct Order {
  int32_t side, price, size, owner, previous, next;
};

struct Level {
  int32_t head = kNone, tail = kNone;
};

class Book {
 public:
  explicit Book(int ids) : levels_{std::vector<Level>(kLevels), std::vector<Level>(kLevels)},
                           orders_(ids) {}

  void apply(const Message& m) {
    if (m.kind == kCancel) {
      reduce(m.id, m.size);
      return;
    }
    int32_t left = take(1 - m.side, m.price, m.size);
    if (left > 0) rest(m, left);
  }

  int64_t traded() const { return traded_; }
  void forget_trades() { traded_ = 0; }

  // FNV-1a over side, price, size, id and owner of every resting order, best first.
  uint64_t hash(uint64_t seed) const {
    uint64_t h = seed;
    for (int side = 0; side < 2; ++side)
      for (int step = 0; step < kLevels; ++step) {
        int price = side == kBuy ? kLevels - 1 - step : step;
        for (int id = levels_[side][price].head; id != kNone; id = orders_[id].next) {
          const Order& o = orders_[id];
          for (int32_t v : {side, price, o.size, id, o.owner}) h = (h ^ uint32_t(v)) * kPrime;
        }
      }
    return h;
  }

  static constexpr uint64_t kPrime = 1099511628211ull;
  static constexpr uint64_t kBasis = 14695981039346656037ull;

 private:
  bool reaches(int side, int limit) const {
    return side == kBuy ? best_[0] >= limit : best_[1] <= limit;
  }
  bool exists(int side) const { return best_[side] >= 0 && best_[side] < kLevels; }

  int32_t take(int side, int32_t limit, int32_t left) {
    while (left > 0 && exists(side) && reaches(side, limit)) {
      int32_t id = levels_[side][best_[side]].head;
      int32_t size = orders_[id].size < left ? orders_[id].size : left;
      left -= size;
      traded_ += size;
      reduce(id, size);
    }
    return left;
  }

  void rest(const Message& m, int32_t size) {
    Level& level = levels_[m.side][m.price];
    orders_[m.id] = {m.side, m.price, size, m.owner, level.tail, kNone};
    (level.tail == kNone ? level.head : orders_[level.tail].next) = m.id;
    level.tail = m.id;
    bool better = m.side == kBuy ? m.price > best_[0] : m.price < best_[1];
    if (better) best_[m.side] = m.price;
  }

  void reduce(int32_t id, int32_t size) {
    Order& o = orders_[id];
    o.size -= size;
    if (o.size > 0) return;
    Level& level = levels_[o.side][o.price];
    (o.previous == kNone ? level.head : orders_[o.previous].next) = o.next;
    (o.next == kNone ? level.tail : orders_[o.next].previous) = o.previous;
    if (level.head != kNone || o.price != best_[o.side]) return;
    int away = o.side == kBuy ? -1 : 1;
    do best_[o.side] += away;
    while (exists(o.side) && levels_[o.side][best_[o.side]].head == kNone);
  }

  std::vector<Level> levels_[2];
  std::vector<Order> orders_;
  int best_[2] = {-1, kLevels};
  int64_t traded_ = 0;
};

struct Flow {
  std::vector<Message> warm_up, messages;
  int ids = 0;
};

std::vector<Flow> read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  auto number = [&] {
    int32_t value = 0;
    if (!file.read(reinterpret_cast<char*>(&value), sizeof value))
      throw std::runtime_error("the flow file ends too early");
    return value;
  };
  std::vector<Flow> flows(number());
  for (Flow& flow : flows) {
    flow.warm_up.resize(number());
    flow.messages.resize(number());
    for (auto* part : {&flow.warm_up, &flow.messages})
      for (Message& m : *part) {
        m = {number(), number(), number(), number(), number(), number()};
        if (m.price <= 0 || m.price >= kLevels) throw std::runtime_error("price off the ladder");
        if (m.id >= flow.ids) flow.ids = m.id + 1;
      }
  }
  return flows;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("usage: ladder FLOW ROUNDS");
  std::vector<Flow> flows = read(argv[1]);
  int64_t traded = 0;
  uint64_t hash = 0;
  for (int round = 0; round < std::atoi(argv[2]); ++round) {
    std::vector<Book> books;
    for (const Flow& flow : flows) {
      books.emplace_back(flow.ids);
      for (const Message& m : flow.warm_up) books.back().apply(m);
      books.back().forget_trades();
    }
    auto start = std::chrono::steady_clock::now();
    for (size_t i = 0; i < flows.size(); ++i)
      for (const Message& m : flows[i].messages) books[i].apply(m);
    std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    std::printf("%.9f\n", taken.count());
    traded = 0;
    hash = Book::kBasis;
    for (const Book& book : books) {
      traded += book.traded();
      hash = book.hash(hash);
    }
  }
  std::printf("%lld %llu\n", static_cast<long long>(traded), static_cast<unsigned long long>(hash));
} catch (const std::exception& error) {
  std::fprintf(stderr, "ladder: %s\n", error.what());
  return 1;
}
