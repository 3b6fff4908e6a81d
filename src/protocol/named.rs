//! `named!`: enums whose values have names, in a table of their own; `shown_as_text!`: types that are a checked text.

/// Declares an enum with a name for each value: `ALL`, in the order of declaration, and `name`.
macro_rules! named {
    ($(#[$about:meta])* $vis:vis enum $set:ident { $($(#[$of:meta])* $value:ident = $name:literal,)+ }) => {
        $(#[$about])*
        $vis enum $set {
            $($(#[$of])* $value,)+
        }

        impl $set {
            /// All of them, in the order of their declaration.
            $vis const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// Its name in metrics, logs and JSON.
            $vis fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }
    };
}

pub(crate) use named;

/// Shows types as the text that their `as_str` is.
macro_rules! shown_as_text {
    ($($type:ident),+) => {
        $(impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self.as_str(), f)
            }
        })+
    };
}

pub(crate) use shown_as_text;
