"""The large, optionable names of the generated market, in the order in which `--underlyings N` takes them.

The first forty are the project's default watchlist. Price (US dollars), volatility (annual, percent) and beta
are rounded orders of magnitude of 2026: the generated paths wander around them, nothing here is a quotation.
"""

from datetime import date
from typing import NamedTuple


class Underlying(NamedTuple):
    """What the generator must know about a well-known symbol."""

    symbol: str
    name: str
    exchange: str
    type: str
    price: float
    volatility: float
    beta: float


_TABLE = """
AAPL|Apple Inc.|XNAS|CS|262|26|1.15
MSFT|Microsoft Corp|XNAS|CS|495|23|1.05
NVDA|Nvidia Corp|XNAS|CS|184|42|1.80
AMZN|Amazon.Com Inc|XNAS|CS|231|31|1.30
GOOGL|Alphabet Inc. Class A Common Stock|XNAS|CS|284|29|1.15
META|Meta Platforms, Inc. Class A Common Stock|XNAS|CS|612|34|1.30
TSLA|Tesla, Inc. Common Stock|XNAS|CS|402|56|2.00
AVGO|Broadcom Inc. Common Stock|XNAS|CS|348|44|1.60
BRK.B|BERKSHIRE HATHAWAY Class B|XNYS|CS|504|15|0.65
JPM|JPMorgan Chase & Co.|XNYS|CS|304|22|1.05
LLY|Eli Lilly & Co.|XNYS|CS|912|31|0.55
V|Visa Inc.|XNYS|CS|332|19|0.85
UNH|UnitedHealth Group Incorporated|XNYS|CS|328|33|0.50
XOM|Exxon Mobil Corporation|XNYS|CS|117|22|0.60
MA|Mastercard Incorporated|XNYS|CS|541|20|0.90
COST|Costco Wholesale Corp|XNAS|CS|921|20|0.80
HD|Home Depot, Inc.|XNYS|CS|362|22|0.95
PG|Procter & Gamble Company|XNYS|CS|148|16|0.35
JNJ|Johnson & Johnson|XNYS|CS|197|16|0.30
ABBV|ABBVIE INC.|XNYS|CS|227|23|0.40
NFLX|NetFlix Inc|XNAS|CS|109|32|1.10
BAC|Bank of America Corporation|XNYS|CS|53|24|1.15
CRM|Salesforce, Inc.|XNYS|CS|239|33|1.25
ORCL|Oracle Corp|XNYS|CS|221|41|1.30
AMD|Advanced Micro Devices|XNAS|CS|214|50|1.85
KO|Coca-Cola Company|XNYS|CS|71|14|0.30
PEP|PepsiCo, Inc.|XNAS|CS|146|18|0.35
WMT|Walmart Inc.|XNYS|CS|103|20|0.55
CVX|Chevron Corporation|XNYS|CS|154|22|0.60
MRK|Merck & Company, Inc.|XNYS|CS|93|23|0.35
SPY|SPDR S&P 500 ETF Trust|ARCX|ETF|665|14|1.00
QQQ|Invesco QQQ Trust, Series 1|XNAS|ETF|602|19|1.25
IWM|iShares Russell 2000 ETF|ARCX|ETF|238|20|1.20
DIA|SPDR Dow Jones Industrial Average ETF Trust|ARCX|ETF|463|13|0.88
GLD|SPDR Gold Shares|ARCX|ETV|374|18|0.10
TLT|iShares 20+ Year Treasury Bond ETF|XNAS|ETF|90|12|-0.10
XLF|Financial Select Sector SPDR Fund|ARCX|ETF|53|17|0.98
XLE|Energy Select Sector SPDR Fund|ARCX|ETF|90|22|0.70
XLK|Technology Select Sector SPDR Fund|ARCX|ETF|286|23|1.35
SMH|VanEck Semiconductor ETF|XNAS|ETF|348|34|1.70
ADBE|Adobe Inc.|XNAS|CS|334|31|1.15
CSCO|Cisco Systems, Inc. Common Stock (DE)|XNAS|CS|77|22|0.90
ACN|Accenture PLC|XNYS|CS|249|26|0.95
INTC|Intel Corp|XNAS|CS|38|52|1.40
QCOM|Qualcomm Inc|XNAS|CS|173|32|1.35
TXN|Texas Instruments Inc|XNAS|CS|163|29|1.15
IBM|International Business Machines Corporation|XNYS|CS|305|25|0.75
NOW|ServiceNow, Inc.|XNYS|CS|842|33|1.15
INTU|Intuit Inc|XNAS|CS|652|29|1.10
AMAT|Applied Materials Inc|XNAS|CS|232|39|1.55
MU|Micron Technology Inc|XNAS|CS|238|52|1.65
LRCX|Lam Research Corp|XNAS|CS|152|42|1.65
KLAC|KLA Corporation|XNAS|CS|1161|38|1.50
ADI|Analog Devices|XNAS|CS|238|30|1.20
PANW|Palo Alto Networks, Inc. Common Stock|XNAS|CS|205|34|1.10
CRWD|CrowdStrike Holdings, Inc. Class A|XNAS|CS|527|42|1.25
PLTR|Palantir Technologies Inc. Class A|XNAS|CS|171|62|1.85
SNOW|Snowflake Inc.|XNYS|CS|256|48|1.30
UBER|Uber Technologies, Inc.|XNYS|CS|91|36|1.25
ABNB|Airbnb, Inc. Class A Common Stock|XNAS|CS|120|33|1.15
SHOP|Shopify Inc. Class A Subordinate Voting Shares|XNAS|CS|148|53|1.75
PYPL|PayPal Holdings, Inc. Common Stock|XNAS|CS|63|35|1.25
COIN|Coinbase Global, Inc. Class A|XNAS|CS|284|70|2.10
MSTR|Strategy Inc Class A|XNAS|CS|199|78|2.00
SMCI|Super Micro Computer, Inc. Common Stock|XNAS|CS|37|75|1.70
ARM|Arm Holdings plc American Depositary Shares|XNAS|ADRC|142|54|1.80
TSM|Taiwan Semiconductor Manufacturing Company Ltd.|XNYS|ADRC|283|37|1.40
ASML|ASML Holding N.V. New York Registry Shares|XNAS|ADRC|1012|36|1.40
BABA|Alibaba Group Holding Limited|XNYS|ADRC|158|45|0.85
NKE|Nike, Inc.|XNYS|CS|65|33|1.05
MCD|McDonald's Corporation|XNYS|CS|306|17|0.45
SBUX|Starbucks Corp|XNAS|CS|85|28|0.85
DIS|The Walt Disney Company|XNYS|CS|105|26|1.05
CMCSA|Comcast Corp Class A|XNAS|CS|28|25|0.70
T|AT&T Inc.|XNYS|CS|26|21|0.40
VZ|Verizon Communications Inc.|XNYS|CS|41|20|0.35
TMUS|T-Mobile US, Inc. Common Stock|XNAS|CS|214|21|0.50
GS|Goldman Sachs Group Inc.|XNYS|CS|776|26|1.25
MS|Morgan Stanley|XNYS|CS|163|26|1.25
C|Citigroup Inc.|XNYS|CS|99|27|1.25
WFC|Wells Fargo & Co.|XNYS|CS|84|25|1.15
SCHW|The Charles Schwab Corporation|XNYS|CS|93|24|0.95
BLK|Blackrock, Inc.|XNYS|CS|1031|23|1.15
AXP|American Express Company|XNYS|CS|349|26|1.20
COF|Capital One Financial|XNYS|CS|205|30|1.25
PFE|Pfizer Inc.|XNYS|CS|25|24|0.45
BMY|Bristol-Myers Squibb Co.|XNYS|CS|46|26|0.40
AMGN|Amgen Inc|XNAS|CS|336|24|0.50
GILD|Gilead Sciences Inc|XNAS|CS|126|24|0.40
TMO|Thermo Fisher Scientific, Inc.|XNYS|CS|584|26|0.85
ABT|Abbott Laboratories|XNYS|CS|129|19|0.60
DHR|Danaher Corporation|XNYS|CS|225|27|0.85
ISRG|Intuitive Surgical Inc.|XNAS|CS|566|30|1.10
CVS|CVS HEALTH CORPORATION|XNYS|CS|79|29|0.50
MRNA|Moderna, Inc. Common Stock|XNAS|CS|24|63|1.15
BA|Boeing Company|XNYS|CS|189|34|1.15
CAT|Caterpillar Inc.|XNYS|CS|548|30|1.10
DE|Deere & Company|XNYS|CS|478|26|0.90
GE|GE Aerospace|XNYS|CS|301|29|1.15
HON|Honeywell International Inc.|XNAS|CS|197|21|0.85
LMT|Lockheed Martin Corp.|XNYS|CS|461|23|0.30
RTX|RTX Corporation|XNYS|CS|174|22|0.55
UPS|United Parcel Service, Inc. Class B|XNYS|CS|94|27|0.90
FDX|FedEx Corporation|XNYS|CS|268|30|1.10
UNP|Union Pacific Corp.|XNYS|CS|222|22|0.80
F|Ford Motor Company|XNYS|CS|13|33|1.20
GM|General Motors Company|XNYS|CS|70|33|1.20
LOW|Lowe's Companies Inc.|XNYS|CS|228|24|0.95
TGT|Target Corporation|XNYS|CS|88|33|0.90
BKNG|Booking Holdings Inc. Common Stock|XNAS|CS|4620|27|1.15
CMG|Chipotle Mexican Grill, Inc.|XNYS|CS|31|36|1.00
PM|Philip Morris International Inc.|XNYS|CS|154|22|0.35
MO|Altria Group, Inc.|XNYS|CS|58|18|0.30
NEE|NextEra Energy, Inc.|XNYS|CS|84|25|0.50
LIN|Linde plc Ordinary Shares|XNAS|CS|418|18|0.75
FCX|Freeport-McMoRan Inc.|XNYS|CS|40|40|1.40
NEM|Newmont Corporation|XNYS|CS|86|40|0.50
COP|ConocoPhillips|XNYS|CS|88|30|0.70
OXY|Occidental Petroleum Corporation|XNYS|CS|41|31|0.75
SLB|SLB Limited|XNYS|CS|36|33|0.85
GOOG|Alphabet Inc. Class C Capital Stock|XNAS|CS|285|29|1.15
SOFI|SoFi Technologies, Inc. Common Stock|XNAS|CS|26|63|1.80
HOOD|Robinhood Markets, Inc. Class A Common Stock|XNAS|CS|118|68|2.00
RIVN|Rivian Automotive, Inc. Class A Common Stock|XNAS|CS|15|62|1.50
DKNG|DraftKings Inc. Class A Common Stock|XNAS|CS|31|46|1.30
GME|GameStop Corporation|XNYS|CS|21|60|0.90
AAL|American Airlines Group Inc.|XNAS|CS|13|46|1.35
DAL|Delta Air Lines Inc.|XNYS|CS|57|39|1.35
EEM|iShares MSCI Emerging Markets ETF|ARCX|ETF|54|17|0.75
EFA|iShares MSCI EAFE ETF|ARCX|ETF|94|14|0.75
FXI|iShares China Large-Cap ETF|ARCX|ETF|39|27|0.60
HYG|iShares iBoxx $ High Yield Corporate Bond ETF|ARCX|ETF|80|6|0.35
SLV|iShares Silver Trust|ARCX|ETV|46|33|0.30
USO|United States Oil Fund, LP|ARCX|ETV|71|34|0.40
XLV|Health Care Select Sector SPDR Fund|ARCX|ETF|152|15|0.60
XLI|Industrial Select Sector SPDR Fund|ARCX|ETF|152|17|1.00
XLU|Utilities Select Sector SPDR Fund|ARCX|ETF|89|17|0.45
XLP|Consumer Staples Select Sector SPDR Fund|ARCX|ETF|77|13|0.40
KRE|State Street SPDR S&P Regional Banking ETF|ARCX|ETF|62|28|1.15
ARKK|ARK Innovation ETF|ARCX|ETF|76|41|1.70
"""


def _parse(line: str) -> Underlying:
    symbol, name, exchange, kind, price, volatility, beta = line.split("|")
    return Underlying(symbol, name, exchange, kind, float(price), float(volatility) / 100, float(beta))


WELL_KNOWN: tuple[Underlying, ...] = tuple(_parse(line) for line in _TABLE.strip().splitlines())
UNDERLYINGS: tuple[str, ...] = tuple(row.symbol for row in WELL_KNOWN)

# Expiries every session, so that a chain taken at the close holds contracts that expire with it (0DTE).
DAILY_EXPIRIES = frozenset({"SPY", "QQQ", "IWM"})

# Splits that did happen: first session of the new price, new shares for one old share.
SPLITS: dict[str, tuple[tuple[date, float], ...]] = {
    "TSLA": ((date(2022, 8, 25), 3.0),),
    "NVDA": ((date(2024, 6, 10), 10.0),),
    "AMZN": ((date(2022, 6, 6), 20.0),),
    "GOOGL": ((date(2022, 7, 18), 20.0),),
    "GOOG": ((date(2022, 7, 18), 20.0),),
    "AVGO": ((date(2024, 7, 15), 10.0),),
    "WMT": ((date(2024, 2, 26), 3.0),),
    "NFLX": ((date(2025, 11, 17), 10.0),),
    "PANW": ((date(2022, 9, 14), 3.0), (date(2024, 12, 16), 2.0)),
    "LRCX": ((date(2024, 10, 3), 10.0),),
    "CMG": ((date(2024, 6, 26), 50.0),),
    "MSTR": ((date(2024, 8, 8), 10.0),),
    "SMCI": ((date(2024, 10, 1), 10.0),),
    "SHOP": ((date(2022, 6, 29), 10.0),),
    "GME": ((date(2022, 7, 22), 4.0),),
}
