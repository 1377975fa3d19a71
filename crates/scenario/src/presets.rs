//! The scenarios of the `chaos` folder, embedded so that the `herd` binary carries them.

/// One shipped scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// How the command line names it: the file's path under `chaos/` without the extension.
    pub name: &'static str,
    /// The file, relative to the repository's root.
    pub file: &'static str,
    /// Its TOML.
    pub text: &'static str,
}

impl Preset {
    /// The shipped scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// Every shipped scenario; the default ladder first.
        pub const PRESETS: &[Preset] = &[$(Preset {
            name: $name,
            file: concat!("chaos/", $name, ".toml"),
            text: include_str!(concat!("../../../chaos/", $name, ".toml")),
        }),+];
    };
}

presets!(
    "ladder",
    "ladder-quick",
    "ladder-4000-50-1",
    "jitter-5000-keys",
    "inject-5000-misses",
    "lock-alone",
    "waiters",
    "stale-if-error",
    "negative",
    "random-ids",
    "xfetch",
    "xfetch-cold-keys",
    "overload",
    "owner-routing",
    "pre-warm",
    "key-prefix",
    "l1",
    "filter-deploy",
    "regression/no-coalescing",
    "regression/flight-ends-before-write",
    "regression/lock-without-second-look",
    "regression/lock-without-fence",
    "regression/unconditional-release",
    "regression/waiter-goes-to-origin",
    "regression/serial-error-retry",
    "regression/sentinel-outlives-insert",
    "regression/l1-incoherent",
    "regression/no-jitter",
    "regression/xfetch-slow-origin",
    "regression/volatile-tokens",
    "regression/slow-rebuild-past-expiry",
    "regression/holder-paused",
    "regression/holder-killed",
    "regression/redis-empty",
    "regression/redis-restart-aof",
    "regression/redis-evicts",
    "regression/replica-promoted",
    "regression/lock-away",
    "regression/lock-clock-fast",
    "regression/node-cut-off",
    "regression/leaders-hang-up",
    "regression/stuck-query",
    "regression/database-away",
    "regression/retry-storm",
    "regression/id-flood",
    "regression/key-prefix-at-peak",
    "regression/scale-out",
    "regression/rolling-restart",
    "exploratory/flight-without-second-look",
    "exploratory/volatile-tokens",
);
