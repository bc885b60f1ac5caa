"""The public price list as it is installed; no price book left behind."""

from tests.pricing.conftest import public_prices as public_prices
