//! The names of values, as they stand in scenario files and reports.

/// The names that stand in scenario files, in the order in which they are offered.
pub(crate) trait Named: Copy + 'static {
    /// Every value with its name.
    const NAMES: &'static [(&'static str, Self)];
}

macro_rules! named {
    ($type:ty { $($name:literal => $value:ident),+ $(,)? }) => {
        impl Named for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, <$type>::$value)),+];
        }
        impl $type {
            /// Every value, in the order in which their names are offered.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The name as it stands in scenario files and reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use named;
