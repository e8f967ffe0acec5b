"""The market page: a read-only web app for traders on the platform's database.

A page is a function of its address (`address`): what the database says of it is read in one read-only
transaction (`reading`), drawn (`charts`, `tables`) and put together (`pages`). A chart and its CSV are made
from the same rows.
"""
