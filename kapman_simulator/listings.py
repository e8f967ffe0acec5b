"""Which symbols the generated market has, and how each of them is listed and trades.

The first symbols are fixed: the well-known underlyings, then one of every odd shape the vendor has; the rest is
made up from its own index. So a symbol is the same thing whatever `--symbols` says.
"""

from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

from kapman_simulator.market import Unservable
from kapman_simulator.sessions import ORIGIN
from kapman_simulator.underlyings import SPLITS, UNDERLYINGS, WELL_KNOWN

_DAY_ONE = ORIGIN.toordinal()
# Listings, delistings and splits of made-up symbols are spread over these days.
_LIFE_DAYS = date(2031, 1, 1).toordinal() - _DAY_ONE
ALWAYS, NEVER = 0, date(9000, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Listing:
    """One symbol: its reference data, its life and the parameters of its path.

    `price` in US dollars, `volatility` annual (0.25 = 25 %), `dollars` traded a day, `idle` the share of sessions
    without a trade, days as proleptic Gregorian ordinals. `in_reference` False: traded, absent from reference.
    """

    symbol: str
    name: str
    exchange: str
    type: str
    price: float
    volatility: float
    beta: float
    dollars: float
    idle: float = 0.0
    listed: int = ALWAYS
    delisted: int = NEVER
    splits: tuple[tuple[int, float], ...] = ()
    in_reference: bool = True
    blank_fields: bool = False


# One of every shape, in the order in which small markets include them.
# symbol | name | exchange | type | price | volatility % | beta | millions of dollars a day | idle % | in reference
_ODD_SHAPES = """
BRK.A|BERKSHIRE HATHAWAY Class A|XNYS|CS|755000|15|0.65|900|0|1
TPC|Tutor Perini Corporation|XNYS|CS|66|48|1.4|40|0|1
TpC|AT&T Inc. Depositary Shares, 4.750% Perpetual Preferred Stock, Series C|XNYS|PFD|19.8|11|0.2|2|4|1
ZVZZT|NASDAQ TEST STOCK|XNAS|CS|15|5|0|0.4|0|1
ZWZZT|NASDAQ TEST STOCK|XNAS|CS|20|5|0|0.3|0|0
ZXZZT|NASDAQ TEST STOCK|XNAS|CS|25|5|0|0.3|0|0
ZTEST|BATS BZX TEST STOCK|BATS|CS|10|5|0|0.1|10|0
NTEST|NYSE TEST STOCK|XNYS|CS|12|5|0|0.1|10|0
CTEST|NYSE ARCA TEST STOCK|ARCX|CS|30|5|0|0.1|10|0
ATEST|NYSE AMERICAN TEST STOCK|XASE|CS|18|5|0|0.1|10|0
BACpK|Bank of America Corp Depositary Shares, Series HH Preferred|XNYS|PFD|24.6|9|0.2|3|2|1
MRTpA.CL|Meridian Trust 8.00% Preferred Series A, called for redemption|XNYS|PFD|25.1|3|0.05|0.1|35|1
SPCQ.WS|Silver Point Acquisition Corp. Warrants|XNYS|WARRANT|0.42|95|0.8|0.05|30|1
SPCQ.U|Silver Point Acquisition Corp. Units|XNYS|UNIT|10.35|6|0.05|0.1|40|1
SPCQ|Silver Point Acquisition Corp. Class A|XNYS|CS|10.22|5|0.05|0.8|5|1
AIIAr|AI Infrastructure Acquisition Corp. Rights|XNYS|RIGHT|0.21|80|0.6|0.02|45|1
KVUEw|Kestrel Value Corp. when issued|XNYS|CS|21.4|28|0.7|1|20|0
HEI.A|Heico Corp Class A|XNYS|CS|248|25|1|60|0|1
BF.B|Brown-Forman Corp Class B|XNYS|CS|29|29|0.5|50|0|1
GRP.U|Granite Real Estate Inc. Stapled Units|XNYS|UNIT|57|22|0.8|2|0|1
JPMpD|JPMorgan Chase & Co. Depositary Shares, Series DD Preferred|XNYS|PFD|25.2|7|0.15|2|1|1
NMZ|Nuveen Municipal High Income Opportunity Fund|XNYS|FUND|10.6|9|0.2|4|0|1
MSD|Morgan Stanley Emerging Markets Debt Fund|XNYS|FUND|7.6|10|0.3|0.5|2|1
VXX|iPath Series B S&P 500 VIX Short-Term Futures ETN|BATS|ETN|34|75|-3|300|0|1
SVIX|-1x Short VIX Futures ETF|BATS|ETS|19|70|2.6|60|0|1
GHOST|Traded, absent from reference|XNAS|CS|7.3|62|1.2|1.5|5|0
PHNTM|Traded, absent from reference|XNAS|CS|2.1|90|1.3|0.7|10|0
AXGNr|Axion Growth Rights|XNAS|RIGHT|0.09|120|0.5|0.01|55|1
ETIpA|Eversource Trust I Preferred Series A|XNYS|PFD|23.9|10|0.2|0.3|12|1
CRDpB.CL|Cardinal Depositary Preferred Series B, called for redemption|XNYS|PFD|25|3|0.05|0.05|50|1
"""

_FIRST = [
    "Alder",
    "Amber",
    "Apex",
    "Arbor",
    "Aspen",
    "Atlas",
    "Aurora",
    "Beacon",
    "Birch",
    "Blue",
    "Bridge",
    "Canyon",
    "Cedar",
    "Cobalt",
    "Copper",
    "Coral",
    "Crest",
    "Delta",
    "Eagle",
    "Ember",
    "Falcon",
    "Fern",
    "Flint",
    "Garnet",
    "Glacier",
    "Granite",
    "Harbor",
    "Hazel",
    "Heron",
    "Iron",
    "Juniper",
    "Keystone",
    "Lark",
    "Laurel",
    "Maple",
    "Meridian",
    "Mesa",
    "Nova",
    "Oak",
    "Onyx",
    "Orchard",
    "Osprey",
    "Pacific",
    "Pine",
    "Pioneer",
    "Prairie",
    "Quartz",
    "Raven",
    "Ridge",
    "River",
    "Sable",
    "Sage",
    "Sierra",
    "Silver",
    "Slate",
    "Spruce",
    "Summit",
    "Terra",
    "Timber",
    "Valley",
    "Vista",
    "Walnut",
    "Willow",
    "Zephyr",
]
_SECOND = [
    "Bancorp",
    "Biosciences",
    "Capital",
    "Chemicals",
    "Communications",
    "Dynamics",
    "Energy",
    "Entertainment",
    "Financial",
    "Foods",
    "Gaming",
    "Health",
    "Holdings",
    "Industries",
    "Insurance",
    "Logistics",
    "Materials",
    "Medical",
    "Metals",
    "Mining",
    "Networks",
    "Oncology",
    "Partners",
    "Petroleum",
    "Pharma",
    "Power",
    "Properties",
    "Realty",
    "Resources",
    "Robotics",
    "Semiconductor",
    "Software",
    "Solutions",
    "Steel",
    "Systems",
    "Technologies",
    "Therapeutics",
    "Transport",
    "Utilities",
    "Water",
]
_THEMES = [
    "Dividend",
    "Growth",
    "Momentum",
    "Quality",
    "Value",
    "Income",
    "Treasury",
    "Municipal",
    "Innovation",
    "Buffer",
    "Climate",
    "Robotics",
]

# type, share of the made-up symbols in percent, suffixes, exchanges, typical price, volatility, beta: the shares are
# those of the vendor's own reference list of December 2025.
_KINDS: tuple[tuple[str, int, tuple[str, ...], tuple[str, ...], float, float, float], ...] = (
    (
        "CS",
        45,
        ("", "", "", "", "", "", "", "", ".A", ".B"),
        ("XNAS", "XNAS", "XNYS", "XASE"),
        28.0,
        0.48,
        1.1,
    ),
    ("ETF", 33, ("",), ("ARCX", "ARCX", "BATS", "XNAS"), 36.0, 0.17, 0.8),
    ("PFD", 5, ("pA", "pB", "pC", "pD", "pA.CL"), ("XNYS",), 22.0, 0.11, 0.2),
    ("WARRANT", 4, (".WS", ".WS", "W"), ("XNYS", "XNAS"), 0.6, 0.95, 0.9),
    ("ADRC", 4, ("", "Y"), ("XNYS", "XNAS"), 19.0, 0.38, 0.9),
    ("FUND", 3, ("",), ("XNYS",), 13.0, 0.12, 0.5),
    ("UNIT", 2, (".U", "U"), ("XNYS", "XNAS"), 10.3, 0.06, 0.1),
    ("RIGHT", 1, ("r", "R"), ("XNYS", "XNAS"), 0.2, 0.8, 0.5),
    ("ETV", 1, ("",), ("ARCX",), 30.0, 0.28, 0.3),
    ("ETN", 1, ("",), ("ARCX",), 26.0, 0.35, 0.6),
    ("SP", 1, ("",), ("XNYS",), 24.0, 0.1, 0.2),
)
_KIND_OF_PERCENT = tuple(kind for kind in _KINDS for _ in range(kind[1]))
_QUIET = frozenset({"PFD", "WARRANT", "UNIT", "RIGHT", "SP", "FUND"})
_SPLIT_RATIOS = (2.0, 3.0, 4.0, 1.5, 10.0, 0.1, 0.05, 0.125)


def _digits(text: str, count: int) -> list[int]:
    """`count` numbers of 0…65535 that depend on `text` alone."""
    digest = blake2b(text.encode(), digest_size=2 * count).digest()
    return [int.from_bytes(digest[2 * i : 2 * i + 2], "big") for i in range(count)]


def _well_known() -> list[Listing]:
    return [
        Listing(
            symbol=row.symbol,
            name=row.name,
            exchange=row.exchange,
            type=row.type,
            price=row.price,
            volatility=row.volatility,
            beta=row.beta,
            dollars=2.5e10 if row.symbol in {"SPY", "QQQ"} else 4e9 / (1 + 0.04 * rank),
            splits=tuple((day.toordinal(), ratio) for day, ratio in SPLITS.get(row.symbol, ())),
        )
        for rank, row in enumerate(WELL_KNOWN)
    ]


def _odd_shapes() -> list[Listing]:
    listings = []
    for line in _ODD_SHAPES.strip().splitlines():
        symbol, name, exchange, kind, price, volatility, beta, millions, idle, known = line.split("|")
        listings.append(
            Listing(
                symbol=symbol,
                name=name,
                exchange=exchange,
                type=kind,
                price=float(price),
                volatility=float(volatility) / 100,
                beta=float(beta),
                dollars=float(millions) * 1e6,
                idle=float(idle) / 100,
                in_reference=known == "1",
                blank_fields=kind in {"PFD", "RIGHT"},
            )
        )
    return listings


def _letters(index: int) -> str:
    """A ticker root of four letters, different for every index below 26⁴."""
    # 142,223 is coprime to 26⁴, so the multiplication is a permutation and neighbours look unrelated.
    number = (index * 142_223 + 55_501) % 26**4
    root = ""
    for _ in range(4):
        number, letter = divmod(number, 26)
        root += chr(ord("A") + letter)
    return root


def _made_up(index: int) -> Listing:
    """The listing number `index` of those that no table fixes."""
    root = _letters(index)
    d = _digits(root, 16)
    kind, _, suffixes, exchanges, price, volatility, beta = _KIND_OF_PERCENT[d[0] % 100]
    share = [digit / 65536 for digit in d]
    first, second, theme = (
        _FIRST[d[1] % len(_FIRST)],
        _SECOND[d[2] % len(_SECOND)],
        _THEMES[d[3] % len(_THEMES)],
    )
    title = {
        "ETF": f"{first} {theme} ETF",
        "ETV": f"{first} {theme} Trust",
        "ETN": f"{first} {theme} ETN",
        "FUND": f"{first} {theme} Fund",
        "CS": f"{first} {second}, Inc. Common Stock",
        "ADRC": f"{first} {second} plc American Depositary Shares",
    }.get(kind, f"{first} {second} Corp. {kind.capitalize()}")
    quiet = kind in _QUIET or share[4] < 0.12
    # 1/12 … 12 times the typical price, most of them near it; dollars a day over five decades.
    factor = 12.0 ** (share[5] + share[6] - 1.0) if price > 1 else 3.0 ** (share[5] - 0.5)
    return Listing(
        symbol=root + suffixes[d[7] % len(suffixes)],
        name=title,
        exchange=exchanges[d[8] % len(exchanges)],
        type=kind,
        price=round(price * factor, 4),
        volatility=round(volatility * (0.6 + 0.8 * share[9]), 4),
        beta=round(beta * (0.5 + share[10]), 3),
        dollars=round(10 ** (3.6 + 2.2 * share[11]) if quiet else 10 ** (5.2 + 3.4 * share[11]), 0),
        idle=round(0.05 + 0.5 * share[12], 3) if quiet else 0.0,
        listed=_DAY_ONE + d[13] % _LIFE_DAYS if share[14] < 0.15 else ALWAYS,
        delisted=_DAY_ONE + d[15] % _LIFE_DAYS if 0.15 <= share[14] < 0.3 else NEVER,
        splits=((_DAY_ONE + d[4] % _LIFE_DAYS, _SPLIT_RATIOS[d[6] % len(_SPLIT_RATIOS)]),)
        if 0.3 <= share[14] < 0.4
        else (),
        in_reference=share[3] >= 0.04,
        blank_fields=share[2] < 0.15,
    )


def universe(symbols: int, underlyings: int) -> list[Listing]:
    """`symbols` listings sorted by symbol, the first `underlyings` well-known ones always among them."""
    if not 0 <= underlyings <= len(UNDERLYINGS):
        raise Unservable(f"There are {len(UNDERLYINGS)} underlyings, so {underlyings} can't be served.")
    if symbols < max(underlyings, 1):
        raise Unservable(f"{symbols} symbols can't hold {underlyings} underlyings.")
    well_known = _well_known()
    head = min(max(40, underlyings), symbols)
    chosen = (well_known[:head] + _odd_shapes() + well_known[head:])[:symbols]
    taken = {listing.symbol for listing in _well_known()} | {listing.symbol for listing in _odd_shapes()}
    index = 0
    while len(chosen) < symbols:
        listing = _made_up(index)
        index += 1
        if listing.symbol not in taken:
            taken.add(listing.symbol)
            chosen.append(listing)
    return sorted(chosen, key=lambda listing: listing.symbol)
