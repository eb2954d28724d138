"""Test cards and payment methods, and what each does (docs.stripe.com/testing)."""

from __future__ import annotations

from attrs import frozen

from ...core.pan import luhn


@frozen
class Card:
    """A tokenised card: what remains after its number is forgotten; `code` is empty for one that pays."""

    brand: str
    last4: str
    code: str = ""
    decline_code: str = ""
    action: bool = False

    @property
    def message(self) -> str:
        """Return what the cardholder is told about a decline."""
        return _MESSAGES.get(self.code, "Your card was declined.")


_MESSAGES = {
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "incorrect_number": "Your card number is incorrect.",
}
_NUMBERS = {
    "4242424242424242": Card("visa", "4242"),
    "4000056655665556": Card("visa", "5556"),
    "5555555555554444": Card("mastercard", "4444"),
    "2223003122003222": Card("mastercard", "3222"),
    "378282246310005": Card("amex", "0005"),
    "6011111111111117": Card("discover", "1117"),
    "4000000000000002": Card("visa", "0002", "card_declined", "generic_decline"),
    "4000000000009995": Card("visa", "9995", "card_declined", "insufficient_funds"),
    "4000000000009987": Card("visa", "9987", "card_declined", "lost_card"),
    "4000000000009979": Card("visa", "9979", "card_declined", "stolen_card"),
    "4000000000000069": Card("visa", "0069", "expired_card", "expired_card"),
    "4000000000000127": Card("visa", "0127", "incorrect_cvc", "incorrect_cvc"),
    "4000000000000119": Card("visa", "0119", "processing_error", "processing_error"),
    "4000002500003155": Card("visa", "3155", action=True),
}
_METHODS = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_amex": "378282246310005",
    "pm_card_discover": "6011111111111117",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_authenticationRequired": "4000002500003155",
}


def by_method(token: str) -> Card | None:
    """Return the card behind a test payment method."""
    number = _METHODS.get(token)
    return _NUMBERS[number] if number else None


def by_number(number: str) -> Card:
    """Return the card of a test number; any other one is declined, as test mode does with real cards."""
    digits = "".join(char for char in number if char.isdigit() and char.isascii())
    if digits in _NUMBERS:
        return _NUMBERS[digits]
    if 12 <= len(digits) <= 19 and luhn(digits):
        return Card("unknown", digits[-4:], "card_declined", "test_mode_live_card")
    return Card("unknown", digits[-4:], "incorrect_number", "incorrect_number")
