//! One type per kind of secret, so that none can be sent, stored or compared as another.
//!
//! None has `Display`, `Serialize` or `==`; their `Debug` is their name; the memory is wiped when the last one goes.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// Takes the text into its wrapper; `None` when it is empty, because an empty secret is an absent one.
            #[must_use]
            pub fn new(text: String) -> Option<Self> {
                (!text.is_empty()).then(|| Self(SecretString::from(text)))
            }

            /// The secret leaves its wrapper here.
            #[must_use]
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

secret_text!(
    /// What an engine presents to a platform. May leave the vault, to an engine that may have it.
    AccessToken
);
secret_text!(
    /// What renews an access token. Goes to the platform's token endpoint and nowhere else.
    ///
    /// ```compile_fail
    /// # use vault_engine::domain::secret::{AccessToken, RefreshToken};
    /// fn release(_: AccessToken) {}
    /// release(RefreshToken::new("r1".into()).unwrap()); // a refresh token is not an access token
    /// ```
    ///
    /// ```compile_fail
    /// # use vault_engine::domain::secret::RefreshToken;
    /// let token = RefreshToken::new("r1".into()).unwrap();
    /// println!("{token}"); // no secret has a Display
    /// ```
    RefreshToken
);
secret_text!(
    /// What proves this installation's client to a platform.
    ClientSecret
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_of_a_secret_is_its_name() {
        assert_eq!(format!("{:?}", AccessToken::new("ya29.abc".into())), "Some(AccessToken)");
    }

    #[test]
    fn an_empty_secret_is_absent() {
        assert!(RefreshToken::new(String::new()).is_none());
    }
}
