//! Requests to nodes over HTTP: nothing endless, nothing huge, no secret in an error
