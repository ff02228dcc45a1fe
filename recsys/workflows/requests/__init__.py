"""Why a request got its list: the same list made again."""
