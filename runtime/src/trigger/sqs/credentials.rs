//! Who asks a queue for its messages, as the container's environment says in
//! AWS's own names:
//!
//! ```text
//! keys       AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//! role       AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN: STS is asked
//! container  AWS_CONTAINER_CREDENTIALS_FULL_URI or .._RELATIVE_URI: an agent
//!            of EKS or ECS on the node is asked
//! machine    none of these: the machine's own metadata service is asked
//! ```
//!
//! The SDK's own providers read the environment of the process, which is not the
//! container's. Profiles and SSO are not looked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_sqs::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
};
use url::Url;

use self::agent::Agent;
use super::said;
use crate::outbound::Trust;

mod agent;

/// Where credentials come from.
pub(super) enum Who {
    /// From the container's environment.
    Known(Credentials),
    /// A role, which a token in a file entitles to.
    Role(Role),
    /// An agent on the node.
    Agent(Agent),
    /// What the machine stands for.
    Machine,
}

/// A role and what entitles to it.
#[derive(Debug, Clone)]
pub(super) struct Role {
    file: PathBuf,
    arn: String,
    session: String,
    endpoint: Option<String>,
}

impl Who {
    /// `get` knows the container's environment.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn new(get: &impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        if let Some((id, secret)) = pair(get, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])? {
            let token = get("AWS_SESSION_TOKEN");
            let known = Credentials::new(id, secret, token, None, "environment");
            return Ok(Self::Known(known));
        }
        let names = ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"];
        if let Some((arn, file)) = pair(get, names)? {
            return Ok(Self::Role(Role {
                file: file.into(),
                arn,
                session: get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "catena".to_owned()),
                endpoint: endpoint(get, "AWS_ENDPOINT_URL_STS")?,
            }));
        }
        Ok(Agent::new(get)?.map_or(Self::Machine, Self::Agent))
    }

    pub(super) fn provider(
        &self,
        region: &Region,
        http: &SharedHttpClient,
        trust: &Arc<Trust>,
    ) -> anyhow::Result<SharedCredentialsProvider> {
        Ok(match self {
            Self::Known(credentials) => SharedCredentialsProvider::new(credentials.clone()),
            Self::Role(role) => {
                let mut config = aws_sdk_sts::config::Builder::new()
                    .behavior_version(BehaviorVersion::latest())
                    .region(region.clone())
                    .timeout_config(super::timeouts())
                    .http_client(http.clone());
                config.set_endpoint_url(role.endpoint.clone());
                SharedCredentialsProvider::new(Assumed {
                    role: role.clone(),
                    client: aws_sdk_sts::Client::from_conf(config.build()),
                })
            }
            Self::Agent(agent) => SharedCredentialsProvider::new(agent.trusting(trust)),
            Self::Machine => {
                let config = ProviderConfig::without_region()
                    .with_region(Some(region.clone()))
                    .with_behavior_version(Some(BehaviorVersion::latest()))
                    .with_http_client(http.clone());
                let machine = aws_config::imds::Client::builder()
                    .configure(&config)
                    .endpoint("http://169.254.169.254")
                    .map_err(|error| anyhow::anyhow!("{error}"))?
                    .build();
                let machine = ImdsCredentialsProvider::builder()
                    .configure(&config)
                    .imds_client(machine);
                SharedCredentialsProvider::new(machine.build())
            }
        })
    }
}

/// Two variables that are of no use without each other.
fn pair(
    get: &impl Fn(&str) -> Option<String>,
    names: [&str; 2],
) -> Result<Option<(String, String)>, String> {
    let alone = |there, missing| {
        Err(format!(
            "the environment has {there} without {missing}; set both or none"
        ))
    };
    match names.map(get) {
        [Some(one), Some(other)] => Ok(Some((one, other))),
        [None, None] => Ok(None),
        [Some(_), None] => alone(names[0], names[1]),
        [None, Some(_)] => alone(names[1], names[0]),
    }
}

/// The address that stands in for Amazon's, for one service or for all.
pub(super) fn endpoint(
    get: &impl Fn(&str) -> Option<String>,
    own: &str,
) -> Result<Option<String>, String> {
    for name in [own, "AWS_ENDPOINT_URL"] {
        if let Some(address) = get(name) {
            return match Url::parse(&address) {
                Ok(_) => Ok(Some(address)),
                Err(error) => Err(format!("{name} is {address:?}, which is no URL: {error}")),
            };
        }
    }
    Ok(None)
}

/// Asks STS for a role. The token's file is read anew each time, since a kubelet
/// replaces it.
#[derive(Debug)]
struct Assumed {
    role: Role,
    client: aws_sdk_sts::Client,
}

impl Assumed {
    async fn ask(&self) -> provider::Result {
        let Role {
            file, arn, session, ..
        } = &self.role;
        let token = tokio::fs::read_to_string(file).await;
        let token = token.map_err(|error| {
            failed(format!(
                "reading AWS_WEB_IDENTITY_TOKEN_FILE, {}: {error}",
                file.display()
            ))
        })?;
        let asking = self
            .client
            .assume_role_with_web_identity()
            .role_arn(arn)
            .role_session_name(session)
            .web_identity_token(token.trim());
        let answer = asking.send().await;
        let answer = answer
            .map_err(|error| failed(format!("STS gives no role {arn:?}: {}", said(&error))))?;
        let none = || failed("STS answers without credentials".to_owned());
        let found = answer.credentials.ok_or_else(none)?;
        let end = SystemTime::try_from(found.expiration);
        let end = end.map_err(|error| failed(error.to_string()))?;
        Ok(Credentials::new(
            found.access_key_id,
            found.secret_access_key,
            Some(found.session_token),
            Some(end),
            "role",
        ))
    }
}

impl ProvideCredentials for Assumed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
    }
}

fn failed(problem: String) -> CredentialsError {
    CredentialsError::provider_error(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(env: &[(&str, &str)]) -> Result<Who, String> {
        Who::new(&|wanted| {
            let found = env.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn refused(env: &[(&str, &str)]) -> String {
        who(env).err().unwrap_or_default()
    }

    #[test]
    fn the_environment_says_who() {
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        assert!(matches!(who(&keys), Ok(Who::Known(_))));
        let role = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
            ("AWS_ROLE_ARN", "arn"),
        ];
        assert!(matches!(who(&role), Ok(Who::Role(_))));
        for (name, place) in [
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "http://169.254.170.23/v1",
            ),
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "http://[fd00:ec2::23]/v1",
            ),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://agent/v1"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials"),
        ] {
            assert!(
                matches!(who(&[(name, place)]), Ok(Who::Agent(_))),
                "{place}"
            );
        }
        assert!(matches!(who(&[]), Ok(Who::Machine)));
    }

    #[test]
    fn halves_and_strangers_are_refused() {
        assert_eq!(
            refused(&[("AWS_ROLE_ARN", "arn")]),
            "the environment has AWS_ROLE_ARN without AWS_WEB_IDENTITY_TOKEN_FILE; set both or none"
        );
        assert!(refused(&[("AWS_SECRET_ACCESS_KEY", "b")]).contains("without AWS_ACCESS_KEY_ID"));
        for place in ["http://example.com/", "http://10.0.0.1/", "no URL"] {
            let refused = refused(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", place)]);
            assert!(refused.contains(place), "{refused}");
        }
        let relative = refused(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@elsewhere/")]);
        assert!(relative.contains("begins with"), "{relative}");
    }
}
