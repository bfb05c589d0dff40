//! What a process is told about identity. Every value that is not allowed is refused at start, by the name of its
//! variable; a secret is never repeated.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, bail};
use secrecy::SecretString;

use super::{Authenticator, authenticator::Requirements, keys::Keys};

/// Who tokens have to be for unless it is said otherwise.
const AUDIENCE: &str = "tandem";

/// How far clocks differ that somebody looks after.
const LEEWAY: u64 = 30;

/// Where a process runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AppEnv {
    /// On somebody's machine.
    #[default]
    Development,
    /// For real.
    Production,
}

/// Who is let in.
#[derive(Clone, clap::Args)]
pub struct IdentityConfig {
    /// Where it runs; production turns conveniences of development off, and needs one of the keys below.
    #[arg(long, env = "APP_ENV", default_value = "development")]
    pub app_env: AppEnv,

    /// The secret of HS256 tokens, 32 bytes or more. Without it or one of the next two everybody is let in.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true, value_parser = secret)]
    pub jwt_secret: Option<SecretString>,

    /// The public key of RS256, ES256 or EdDSA tokens, in PEM.
    #[arg(long, env = "JWT_PUBLIC_KEY_FILE", value_name = "FILE")]
    pub jwt_public_key_file: Option<PathBuf>,

    /// The public keys of RS256, ES256 or EdDSA tokens, a JSON Web Key Set. Read again when it changes.
    #[arg(long, env = "JWT_JWKS_FILE", value_name = "FILE")]
    pub jwt_jwks_file: Option<PathBuf>,

    /// Who issues the tokens (iss). Required with a key.
    #[arg(long, env = "JWT_ISSUER")]
    pub jwt_issuer: Option<String>,

    /// Who the tokens are for (aud) [default: tandem].
    #[arg(long, env = "JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// How far the clock of the issuer may differ from ours, in seconds.
    #[arg(
        long, env = "JWT_LEEWAY_SECONDS", default_value_t = LEEWAY, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(0..=300)
    )]
    pub jwt_leeway_seconds: u64,

    /// For processes with several services: one for all of them.
    #[arg(skip)]
    pub shared: Option<Authenticator>,
}

/// Never a wrong value here: an error of the command line would repeat it.
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            app_env: AppEnv::default(),
            jwt_secret: None,
            jwt_public_key_file: None,
            jwt_jwks_file: None,
            jwt_issuer: None,
            jwt_audience: None,
            jwt_leeway_seconds: LEEWAY,
            shared: None,
        }
    }
}

impl IdentityConfig {
    /// For a service in a process that has an authenticator already.
    pub fn shared(authenticator: Authenticator) -> Self {
        Self { shared: Some(authenticator), ..Self::default() }
    }

    /// What lets callers in. Says so loudly where that is everybody.
    ///
    /// # Errors
    /// What is not allowed, by the name of its variable: no key in production, several keys, a bad one, no issuer.
    pub fn authenticator(&self) -> Result<Authenticator> {
        let authenticator = self.read()?;
        if self.shared.is_none() && authenticator.is_open() {
            tracing::warn!(
                "OPEN MODE: no token is asked for, everybody may read and change every order and invoice; set \
                 JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_FILE to protect them"
            );
        }
        Ok(authenticator)
    }

    /// The same for those who say it themselves.
    ///
    /// # Errors
    /// As above.
    pub fn read(&self) -> Result<Authenticator> {
        if let Some(shared) = &self.shared {
            return Ok(shared.clone());
        }
        let named = |name, is_there: bool| is_there.then_some(name);
        let keys: Vec<&str> = [
            named("JWT_SECRET", self.jwt_secret.is_some()),
            named("JWT_PUBLIC_KEY_FILE", self.jwt_public_key_file.is_some()),
            named("JWT_JWKS_FILE", self.jwt_jwks_file.is_some()),
        ]
        .into_iter()
        .flatten()
        .collect();
        match keys.as_slice() {
            [] => self.open(),
            [_] => self.verifying(),
            several => bail!("{} are set: there is one source of keys, leave the others out", several.join(" and ")),
        }
    }

    fn open(&self) -> Result<Authenticator> {
        if self.app_env == AppEnv::Production {
            bail!(
                "APP_ENV=production needs JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_FILE: without one of them \
                 everybody could read and change every order"
            );
        }
        for (name, value) in [("JWT_ISSUER", &self.jwt_issuer), ("JWT_AUDIENCE", &self.jwt_audience)] {
            if value.is_some() {
                bail!(
                    "{name} is set without a key: set JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_FILE, or leave it out"
                );
            }
        }
        Ok(Authenticator::OPEN)
    }

    fn verifying(&self) -> Result<Authenticator> {
        let requirements = self.requirements()?;
        if let Some(secret) = &self.jwt_secret {
            let keys = Keys::from_secret(secret).map_err(|error| anyhow!("JWT_SECRET {error}"))?;
            return Ok(Authenticator::new(keys, requirements));
        }
        let (name, path, read): (_, _, fn(&[u8]) -> _) = match (&self.jwt_public_key_file, &self.jwt_jwks_file) {
            (Some(path), _) => ("JWT_PUBLIC_KEY_FILE", path, Keys::from_pem),
            (None, Some(path)) => ("JWT_JWKS_FILE", path, Keys::from_jwks),
            (None, None) => bail!("there is no key"),
        };
        let shown = path.display();
        let text = std::fs::read(path).map_err(|error| anyhow!("{name} {shown} cannot be read: {error}"))?;
        let keys = read(&text).map_err(|error| anyhow!("{name} {shown} {error}"))?;
        let authenticator = Authenticator::new(keys, requirements);
        if self.jwt_jwks_file.is_some() {
            authenticator.follow(path.clone(), text);
        }
        Ok(authenticator)
    }

    pub(super) fn requirements(&self) -> Result<Requirements> {
        let issuer = self.jwt_issuer.clone().unwrap_or_default();
        if issuer.trim().is_empty() {
            bail!("JWT_ISSUER is not set: name who issues the tokens (their claim iss)");
        }
        let audience = self.jwt_audience.clone().unwrap_or_else(|| AUDIENCE.to_owned());
        if audience.trim().is_empty() {
            bail!(
                "JWT_AUDIENCE is empty: name who the tokens are for (their claim aud), or leave it out for {AUDIENCE}"
            );
        }
        Ok(Requirements { issuer, audience, leeway: Duration::from_secs(self.jwt_leeway_seconds) })
    }
}

impl std::fmt::Debug for IdentityConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityConfig").field("app_env", &self.app_env).finish_non_exhaustive()
    }
}
