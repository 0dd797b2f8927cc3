"""What stands in the way of the site."""

from pconv.errors import PConvError


class SiteError(PConvError, ValueError):
    """A report from which the site is made is missing or damaged; the message names it and says what to do."""
