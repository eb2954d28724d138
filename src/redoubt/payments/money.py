"""Money as integers in minor units with its ISO 4217 currency."""

from __future__ import annotations

from attrs import frozen

from .errors import MoneyInvalid

MAX_AMOUNT = 10**12  # a bound on input: no single amount reaches ten thousand million major units

_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
    "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR "
    "MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD "
    "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER "
    "ZAR ZMW ZWG"
)

EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_TWO.split(), 2),
    **dict.fromkeys(_ZERO.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    **dict.fromkeys(_FOUR.split(), 4),
}


@frozen
class Money:
    """A positive amount in minor units of one currency (ISO 4217)."""

    amount: int
    currency: str

    def __attrs_post_init__(self) -> None:
        check(self.amount, self.currency)

    def __str__(self) -> str:
        return f"{decimal_text(self.amount, self.currency)} {self.currency}"


def check(amount: object, currency: object) -> None:
    """Refuse what is not a positive, bounded integer of a known currency; a bool or a float is not an integer."""
    if type(amount) is not int or not 0 < amount <= MAX_AMOUNT:
        raise MoneyInvalid("the amount is not a positive whole number of minor units within bounds.")
    if not isinstance(currency, str) or currency not in EXPONENTS:
        raise MoneyInvalid("the currency is not an upper-case ISO 4217 code that we know.")


def decimal_text(amount: int, currency: str) -> str:
    """Return `amount` in major units as text: 1999 EUR is 19.99, 1999 JPY is 1999, 1999 KWD is 1.999."""
    exponent = EXPONENTS[currency]
    if exponent == 0:
        return str(amount)
    sign, digits = ("-" if amount < 0 else ""), str(abs(amount)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"
