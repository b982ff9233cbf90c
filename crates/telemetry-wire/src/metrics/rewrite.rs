//! Re-emits a metrics request without some of its metrics or points, and cuts one in two, all by copying slices.
