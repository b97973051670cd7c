"""Settings → the clients of Postgres, Redis and the language models, each closed by the stack."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict

import structlog
from pydantic import SecretStr

from app.chat.flights import Alone
from app.chat.runs import Runs
from app.encoder.rerank_client import RerankerClient
from app.errors import InvalidInput
from app.outgoing.guard import Guard
from app.production.servers import unsafe_role
from app.providers.breaker import BreakerLimits
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.own import Own
from app.providers.policy import Attempts
from app.providers.registry import ConfiguredProviders
from app.providers.relay import Deadlines
from app.settings import ConfigurationError, Settings
from app.settings.sections import ProviderSettings
from app.stores.database import Database
from app.stores.hottest import Hottest
from app.stores.leading import RedisLeading
from app.stores.local_cache import LOCAL_SECONDS, LocalCache
from app.stores.redis_cache import NoCache, RedisCache
from app.stores.run_streams import NoStreams, RedisRunStreams
from app.telemetry.tracing import Tracing
from app.vault.agent_keys import AgentKeys
from app.vault.keyring import InvalidKeys, parse_keys
from app.vault.sealing import Vault

log = structlog.get_logger(__name__)


async def open_database(
    settings: Settings, stack: AsyncExitStack, waited: Callable[[float], None] = lambda _: None
) -> Database:
    """The database as the role that the service runs as, which row level security must hold."""
    if settings.database_url is None:
        raise ConfigurationError("Set DATABASE_URL, or use `citestream run` for embedded servers.")
    database = await Database.open(
        settings.database_url,
        pool_size=settings.database.pool_size,
        timeout_seconds=settings.database.timeout_seconds,
        waited=waited,
        pooler=settings.database.pooler,
    )
    stack.push_async_callback(database.close)
    await _check_role(database)
    return database


async def _check_role(database: Database) -> None:
    """Row level security holds only for a role that cannot step past it: say so, or refuse."""
    report = await database.check_role()
    log.info("database role", **asdict(report))
    if not report.safe:
        raise ConfigurationError(unsafe_role(report))


def open_cache(settings: Settings, stack: AsyncExitStack) -> RedisCache | NoCache:
    """Redis, or nothing where none is configured."""
    if settings.redis_url is None:
        return NoCache()
    cache = RedisCache(
        settings.redis_url,
        timeout_seconds=settings.cache.timeout_seconds,
        retry_after_seconds=settings.cache.retry_after_seconds,
    )
    stack.push_async_callback(cache.aclose)
    return cache


def before(cache: RedisCache | NoCache, settings: Settings) -> LocalCache:
    """What of it is asked for all the time, at hand in this process."""
    limit_bytes = int(settings.cache.local_mb * 1024 * 1024)
    return LocalCache(cache, Hottest(limit_bytes, LOCAL_SECONDS))


def open_streams(settings: Settings, runs: Runs) -> RedisRunStreams | NoStreams:
    """What passes runs on between processes; nothing where no Redis is configured. To be closed
    behind the engine, whose last events it passes on."""
    if settings.redis_url is None:
        return NoStreams()
    return RedisRunStreams(settings.redis_url, runs.shared)


def open_leading(
    cache: RedisCache | NoCache, streams: RedisRunStreams | NoStreams
) -> RedisLeading | Alone:
    """What tells processes which of them produces an answer."""
    if isinstance(cache, NoCache):
        return Alone()
    return RedisLeading(cache, streams.ended)


def open_guard(settings: Settings) -> Guard:
    """Where what a tenant names may lie."""
    named = [each.strip() for each in settings.allow_private_hosts.split(",")]
    try:
        return Guard([each for each in named if each])
    except InvalidInput as error:
        raise ConfigurationError(f"ALLOW_PRIVATE_HOSTS: {error.message}") from None


def open_vault(settings: Settings) -> Vault:
    """What encrypts the keys that tenants entrust to the service; without AGENT_KMS_KEY nothing
    is kept."""
    if settings.kms_keys is None:
        return Vault()
    try:
        return Vault(parse_keys(secret(settings.kms_keys)))
    except InvalidKeys as error:
        raise ConfigurationError(f"AGENT_KMS_KEY: {error}") from None


def open_providers(
    settings: Settings, stack: AsyncExitStack, tracing: Tracing, keys: AgentKeys, guard: Guard
) -> ConfiguredProviders:
    """A vendor is configured by its key, or by the address of a server that needs none; an agent
    may bring along both."""
    models = {"openai": settings.openai_model, "mistral": settings.mistral_model}
    providers = ConfiguredProviders(
        _openai(settings),
        _mistral(settings),
        _deadlines(settings.provider),
        _attempts(settings.provider),
        _breaker_limits(settings.provider),
        traced=tracing.provider,
        own=Own(keys, guard, models),
    )
    stack.push_async_callback(providers.aclose)
    return providers


def open_reranker(settings: Settings, stack: AsyncExitStack) -> RerankerClient | None:
    """The reranker, or nothing where none is configured. It is not asked before it is needed."""
    configured = settings.reranker
    if configured.url is None:
        return None
    client = RerankerClient(configured.url, secret(configured.api_key), configured.timeout_seconds)
    stack.push_async_callback(client.aclose)
    return client


def _deadlines(configured: ProviderSettings) -> Deadlines:
    return Deadlines(
        connect_seconds=configured.connect_seconds,
        first_token_seconds=configured.first_token_seconds,
        between_tokens_seconds=configured.between_tokens_seconds,
        total_seconds=configured.total_seconds,
    )


def _attempts(configured: ProviderSettings) -> Attempts:
    return Attempts(
        retries=configured.retries,
        backoff_seconds=configured.backoff_seconds,
        first_token_seconds=configured.first_token_seconds,
    )


def _breaker_limits(configured: ProviderSettings) -> BreakerLimits:
    return BreakerLimits(
        failures=configured.breaker_failures,
        window_seconds=configured.breaker_window_seconds,
        open_seconds=configured.breaker_open_seconds,
    )


def _openai(settings: Settings) -> OpenAIConfig | None:
    if not (settings.openai_api_key or settings.openai_base_url):
        return None
    key = secret(settings.openai_api_key)
    return OpenAIConfig(key, settings.openai_model, settings.openai_base_url)


def _mistral(settings: Settings) -> MistralConfig | None:
    if not (settings.mistral_api_key or settings.mistral_server_url):
        return None
    key = secret(settings.mistral_api_key)
    return MistralConfig(key, settings.mistral_model, settings.mistral_server_url)


def secret(value: SecretStr | None) -> str:
    """The secret itself; empty where none is set."""
    return value.get_secret_value() if value else ""
