//! Key providers: where data keys are made and unwrapped.
