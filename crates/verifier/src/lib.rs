//! Pure: holdings, statement and policy become a reconciliation. No I/O, no async, no clock
