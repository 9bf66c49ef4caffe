"""Published files from their official places: resumable, verified while they stream, and only what is missing.

`fetching` does it for a whole set; `needs` says beforehand what there is to do. One HTTP client (`client`), one way a
file comes (`transfer`), and what is known of the hosts: `credentials`, `hub`. Which files a set has is its card's
business.
"""
