"""What stands in the way of the site."""

from pconv.errors import PConvError


class SiteError(PConvError, ValueError):
    """What the site is made of, or the folder for it, cannot be used; the message names it and says what to do."""
