"""Pieces of scenario files, and files that are wrong with what is said of them."""

RUN = '[run]\nstart = "09:30:00"\nend = "09:31:00"\n'
MARKET = "[market]\nreference = 10.0\n"
NOISE = '[[agents]]\nkind = "noise"\ngap = 1.0\n'
BUILTIN = "[run]\nminutes = 1\n[book]\nbuiltin = 2\n"
PHASE = '{ kind = "continuous", start = "09:30:00", end = "24:00:00" }'
CROWD = '[[agents]]\nkind = "reference"\n'
TWAP = 'side = "buy"\ntarget = 1000\ntotal = 60\n'
PAPER_TWAP = 'side = "buy"\ntarget = 1000\npassive_ratio = 0.2\nlevel = 3\n'
A_SHARE_RUN = '[run]\nstart = "10:00:00"\nend = "14:00:00"\n'
A_SHARE_MARKET = MARKET + 'calendar = "chinese_a_share"\n'
FUNDAMENTAL = "[fundamental]\nreversion = 0.01\nvolatility = 0.001\n"
LARGE = "1" + 400 * "0"


def agent(kind: str, text: str = "") -> str:
    return f'[[agents]]\nkind = "{kind}"\n{text}\n'


WRONG: list[tuple[tuple[str, ...], str]] = [
    ((RUN, MARKET), "m.toml has no agents, expected at least one table"),
    (("[run", NOISE), "m.toml is not TOML: "),
    ((RUN, MARKET, NOISE, "[rum]\nx = 1"), "unknown key 'rum', expected one of agents, book"),
    ((RUN + "trajectores = 3", MARKET, NOISE), r"\[run\] has an unknown key 'trajectores'"),
    ((RUN + "trajectories = 0", MARKET, NOISE), "trajectories is 0, expected a whole number from"),
    ((RUN + "trajectories = true", MARKET, NOISE), "trajectories is true, expected a whole number"),
    ((RUN + 'seed = "7"', MARKET, NOISE), "seed is '7', expected a whole number from 0 to"),
    ((RUN + "seed = -1", MARKET, NOISE), "seed is -1, expected a whole number from 0 to"),
    (("[run]\nminutes = 1", MARKET, NOISE), r"\[run\] has no start, expected a time of the day"),
    ((RUN.replace("30:", "61:"), MARKET, NOISE), "start is '09:61:00', expected a time of the day"),
    ((RUN + "minutes = 1", MARKET, NOISE), "needs either end, a time of the day, or minutes"),
    (('[run]\nstart = "09:30:00"', MARKET, NOISE), "needs either end, a time of the day, or minut"),
    ((RUN.replace("09:31", "09:29"), MARKET, NOISE), "end is '09:29:00', expected a time after"),
    (
        (RUN, MARKET + 'calendar = "always"', '[[agents]]\nkind = "no"'),
        "kind is 'no', expected one",
    ),
    ((RUN, MARKET, '[[agents]]\nkind = "noise"'), "agents 1 has no gap, expected a number from"),
    ((RUN, MARKET, NOISE + "gap = 2"), "m.toml is not TOML: Cannot overwrite a value"),
    ((RUN, MARKET, NOISE + "size = 3"), "agents 1 has an unknown key 'size', expected one of cash"),
    ((RUN, MARKET, NOISE, NOISE), "agents 2: name 'noise' is taken"),
    ((RUN, MARKET, NOISE + "count = 101"), "count is 101, expected a whole number from 1 to 100"),
    ((RUN, MARKET, NOISE + 'count = 60\nname = "a"', NOISE + "count = 60"), "has 120 agents"),
    ((RUN, NOISE), "agents 1 has no price, expected one here, a reference of the market"),
    ((RUN, MARKET, NOISE + "price = 10.005"), "price is 10.005, expected a positive multiple of t"),
    (
        (RUN, MARKET, NOISE + "price = nan"),
        "price is nan, expected a positive multiple of the tick",
    ),
    ((RUN, "[market]\nreference = -1.0", NOISE), "reference is -1.0, expected a positive multiple"),
    ((RUN, MARKET + "tick_size = 0", NOISE), "tick_size is 0, expected a number from 1e-08 to"),
    ((RUN, MARKET + "tick_size = 1e-10", NOISE), r"tick_size is 1e-10, expected .* to 1e\+06"),
    ((RUN, MARKET + "tick_size = 1e308", NOISE), r"tick_size is 1e\+308, expected a number from"),
    ((RUN, MARKET + "tick_size = nan", NOISE), "tick_size is nan, expected a number from"),
    ((RUN, MARKET, NOISE + 'name = "nobody"'), "name is 'nobody', expected a name .* but 'nobody'"),
    ((RUN, MARKET, NOISE + r'name = "a\nb"'), r"name is 'a\\nb', expected .* printable characters"),
    (
        (RUN.replace('"09:30:00"', "2024-01-02T09:30:00Z"), MARKET, NOISE),
        "start is 2024-01-02T09:30:00Z, expected a time of the day",
    ),
    ((RUN.replace("09:30", "24:00"), MARKET, NOISE), "start is '24:00:00', expected a time of the"),
    ((RUN.replace("09:31:00", "24:00:01"), MARKET, NOISE), "end is '24:00:01', .* at most"),
    (
        (RUN, MARKET + f"calendar = [{PHASE}, {PHASE}]", NOISE),
        "phases must follow each other .* one from 09:30:00 to 24:00:00 after 24:00:00",
    ),
    ((RUN, MARKET + "slots = 99999", NOISE), "slots is 99999, expected a whole number from 1 to"),
    ((RUN, MARKET + 'calendar = "mars"', NOISE), "calendar is 'mars', expected one of always, us_"),
    ((RUN, MARKET + "calendar = 3", NOISE), "calendar is 3, expected one of always"),
    ((RUN, MARKET + "calendar = []", NOISE), "a calendar must have at least one phase"),
    (
        (RUN, MARKET + "max_in_flight = 0", NOISE + "computation = 1"),
        "max_in_flight is 0, expected",
    ),
    ((RUN, MARKET, "[market.rules]\nprice_limit = 2", NOISE), "price_limit is 2, expected a numbe"),
    ((RUN, "[market.rules]\nprice_limit = 0.1", NOISE), r"\[market\] has no reference, expected"),
    (
        (RUN, MARKET, '[market.rules]\nkinds = ["limit", "stop"]', NOISE),
        "kinds is .* expected a li",
    ),
    ((RUN, MARKET, '[market.rules]\nself_trade = "no"', NOISE), "self_trade is 'no', expected one"),
    ((RUN, MARKET, "[book]\nbuiltin = 99", NOISE), "starts 0 to 15, got 99"),
    (
        (RUN, MARKET, "[book]\nbuiltin = 0", NOISE),
        "start is '09:30:00', expected 10:00:00, the mom",
    ),
    ((BUILTIN, "orders = []", NOISE), r"\[book\] has builtin and orders, expected one of them"),
    ((BUILTIN, "[market]\nslots = 16", NOISE), "has 256 slots per side, expected a market with at"),
    ((BUILTIN, "[market]\nlot_size = 10", NOISE), "lot_size is 10, expected 100 as in the book"),
    ((BUILTIN, 'owner = "x"', NOISE), "owner is 'x', expected one of noise"),
    ((RUN, MARKET, CROWD), "the reference market needs a book with orders on both sides"),
    ((RUN, MARKET, agent("background")), "the order model needs the orders before the start"),
    ((RUN, MARKET, agent("value")), r"expected a table \[fundamental\]"),
    (
        (RUN, MARKET, "[fundamental]\nreversion = 0.1", NOISE),
        "has no volatility, expected an amoun",
    ),
    ((RUN, MARKET, agent("script", 'file = "no.csv"')), "no.csv cannot be read: No such file"),
    ((RUN, MARKET, agent("momentum", "short = 9\nlong = 9")), "momentum needs 0 < short < long"),
    ((RUN, MARKET, agent("zero_intelligence", "computation = 0.1")), "draws its next order anew"),
    (
        (RUN, MARKET, agent("twap", 'side = "buy"\ntarget = 150\ntotal = 60')),
        "agents 1: TWAP target must be a multiple of 100 shares",
    ),
    (
        (RUN, MARKET, agent("twap", TWAP + 'start = "09:29:59"')),
        "agents 1: start is '09:29:59', expected a time of the run, from 09:30:00 to before 09:31",
    ),
    (
        (RUN, MARKET, agent("paper_twap", PAPER_TWAP + 'start = "09:31:00"')),
        "agents 1: start is '09:31:00', expected a time of the run",
    ),
    (
        (A_SHARE_RUN, A_SHARE_MARKET, agent("twap", TWAP + 'start = "12:00:00"')),
        "start is '12:00:00', expected a time at which the calendar of the market is open",
    ),
    (
        (A_SHARE_RUN.replace("10:", "12:"), A_SHARE_MARKET, agent("twap", TWAP)),
        "agents 1 has no start, expected a time at which the calendar of the market is open",
    ),
    (
        (RUN, MARKET, "[market.rules]\nsize_step = 200", agent("twap", TWAP)),
        r"a TWAP trades by limit orders of 100 shares, .* expected rules that accept them",
    ),
    (
        (RUN, MARKET, '[market.rules]\nkinds = ["ioc"]', agent("twap", TWAP)),
        r"a TWAP trades by limit orders of 100 shares, .* expected rules that accept them",
    ),
    (
        (RUN, MARKET, "[market.rules]\nprice_step = 0.02", agent("twap", TWAP)),
        "agents 1 has no change, expected a multiple of the price_step of the rules, 2 ticks",
    ),
    (
        (RUN, MARKET, agent("twap", TWAP + "passive_ratio = 0\naggressive_ratio = 0")),
        "aggressive_ratio is 0, expected more than 0 where passive_ratio is 0",
    ),
    (
        (RUN, MARKET, agent("paper_twap", PAPER_TWAP.replace("0.2", "0").replace("3", "0"))),
        "level is 0, expected 1 to 5 where passive_ratio is 0",
    ),
    (
        (RUN, MARKET, "[market.rules]\nsize_step = 200", agent("momentum", "size = 300")),
        "agents 1: size is 300, expected a multiple of the size_step of the rules, 200 shares",
    ),
    (
        (RUN, MARKET, "[market.rules]\nsize_step = 200", agent("zero_intelligence")),
        "agents 1 has no size, expected a multiple of the size_step of the rules, 200 shares",
    ),
    ((RUN, MARKET, NOISE.replace("1.0", LARGE)), "gap is 1000000.*, expected a number from 1e-06"),
    ((RUN, MARKET, NOISE + f"price = {LARGE}"), "price is 1000000.*, expected a positive multiple"),
    ((RUN, MARKET, NOISE + "communication = -0.1"), "communication is -0.1, expected a number fro"),
    ((RUN, MARKET, NOISE + "cash = nan"), "cash is nan, expected a number from 0 to"),
    (
        (RUN, MARKET, FUNDAMENTAL, agent("value", "cross_prob = 1.5")),
        "cross_prob is 1.5, expected a number from 0 to 1",
    ),
    (
        (RUN, MARKET, '[book]\norders = [{ side = "buy", price = 9.0 }]', NOISE),
        "orders 1 has no size, expected a whole number from 1",
    ),
    (
        (
            RUN,
            '[book]\norders = [{ side = "buy", price = 9.0, size = 1 },'
            '{ side = "sell", price = 9.0, size = 1 }]',
            NOISE,
        ),
        "orders bid 9 and ask 9, expected every bid below every ask",
    ),
    (
        (
            '[run]\nstart = "12:00:00"\nend = "12:30:00"',
            MARKET + 'calendar = "chinese_a_share"',
            NOISE,
        ),
        "the market is closed from 12:00:00 to 12:30:00",
    ),
]
