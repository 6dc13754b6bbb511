using System.Buffers.Text;
using System.Collections.Immutable;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

[GrainType("pollux.host")]
public sealed partial class HostGrain : Grain, IHostGrain
{
    /// <summary>Milliseconds without a report after which a host counts as unreachable: three reports of 5 s.</summary>
    public const long SilenceMaxMs = 15_000;

    /// <summary>Milliseconds between durable marks of the last sign of life: it is for people, not for decisions.</summary>
    private const long LastSeenSavedEveryMs = 300_000;

    /// <summary>Beyond guessing.</summary>
    private const int TokenSecretBytes = 32;

    private readonly DurableState<HostState> _state;
    private readonly TimeProvider _time;
    private readonly ControlGeneration _generation;
    private readonly ILogger<HostGrain> _log;

    // What follows is lost with the activation; the session and the next report bring it back.
    private HostSession? _session;
    private IHostSessionObserver? _observer;
    private HostReport _report = new(0, false, []);
    private long _heardUnixMs;
    private bool _ahead;
    private DesiredHost? _desired;
    private ImmutableDictionary<string, Ordered> _ordered = ImmutableDictionary<string, Ordered>.Empty;
    private readonly Dictionary<string, (string? State, long Epoch)> _vmsTold = [];

    public HostGrain(
        [PersistentState(GrainStateNames.Host, GrainStateNames.Storage)] IPersistentState<HostState> storage,
        TimeProvider time, ControlGeneration generation, ILogger<HostGrain> log)
    {
        _generation = generation;
        _state = new(storage, DeactivateOnIdle);
        _time = time;
        _log = log;
    }

    /// <param name="SinceVersion">First desired version with this module of this incarnation: an older report speaks of another one.</param>
    private sealed record Ordered(Guid Incarnation, long SinceVersion);

    private string Key => this.GetPrimaryKeyString();

    private long NowUnixMs => _time.GetUtcNow().ToUnixTimeMilliseconds();

    private bool Connected => _session is not null && NowUnixMs - _heardUnixMs <= SilenceMaxMs;

    public async Task<JoinTokenIssued> IssueTokenAsync()
    {
        var cluster = await ReadClusterAsync();
        if (cluster is null || !cluster.Hosts.Contains(GrainKey.NameOf(Key)))
            return new JoinTokenIssued(null, 0, Problems.HostUnknown(Key));
        var secret = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(TokenSecretBytes));
        var next = JoinTokens.Issue(_state.Value, secret, NowUnixMs);
        await _state.SaveAsync(next);
        return new JoinTokenIssued(secret, next.TokenExpiresUnixMs, null);
    }

    public async Task<Outcome> JoinAsync(string secret, string publicKeyHash)
    {
        if (!_state.Exists) return Outcome.Refused(Problems.HostUnknown(Key));
        var (problem, next) = JoinTokens.Redeem(Key, _state.Value, secret, publicKeyHash, NowUnixMs);
        if (problem is not null) return Outcome.Refused(problem);
        if (next != _state.Value)
        {
            await _state.SaveAsync(next);
            EndSession();
            LogJoined(Key);
        }
        return Outcome.Done;
    }

    public async Task<Outcome> OpenSessionAsync(HostSession session, IHostSessionObserver observer)
    {
        if (!_state.Exists && !await IsToBeAdoptedAsync()) return Outcome.Refused(Problems.HostForgotten(Key));
        // Its certificate is of this installation's authority, which the gateway has checked: it had joined once.
        if (!_state.Exists) LogAdopted(Key);
        var joined = _state.Exists ? _state.Value : new HostState { PublicKeyHash = session.PublicKeyHash };
        if (joined.PublicKeyHash is null) return Outcome.Refused(Problems.HostNotJoined(Key));
        if (joined.PublicKeyHash != session.PublicKeyHash) return Outcome.Refused(Problems.HostKeyForeign(Key));
        // A version is stored before it is given out. A host that has a later one has it from a database that is newer than this: it was restored and
        // nobody has said so. What it would be told might be to release modules of which this database does not know.
        _ahead = session.DesiredVersion > joined.DesiredVersion && joined.Generation == _generation.Number && _state.Exists;
        if (_ahead) LogAhead(Key, session.DesiredVersion, joined.DesiredVersion);
        var addresses = new HostAddresses(session.PeerAddress, session.ReplicationAddress) { Networks = session.Networks };
        var moved = joined.Addresses != addresses;
        await _state.SaveAsync(joined with
        {
            Addresses = addresses,
            LastSeenUnixMs = NowUnixMs,
            // A restored database has given out fewer versions than the host has seen: none may be given out again with another meaning.
            DesiredVersion = _ahead ? joined.DesiredVersion : Math.Max(joined.DesiredVersion, session.DesiredVersion),
            DesiredFingerprint = session.DesiredVersion > joined.DesiredVersion ? "" : joined.DesiredFingerprint,
            Generation = _generation.Number,
        });
        (_session, _observer, _heardUnixMs) = (session, observer, NowUnixMs);
        LogConnected(Key, session.Incarnation);
        if (moved && await ReadPeerAsync() is { } peer) await peer.HintAsync();
        return Outcome.Done;
    }

    public async Task CloseSessionAsync(Guid sessionId)
    {
        if (_session?.SessionId != sessionId) return;
        EndSession();
        LogDisconnected(Key);
        await _state.SaveAsync(_state.Value with { LastSeenUnixMs = _heardUnixMs });
    }

    public async Task<SessionStanding> ReportAsync(Guid sessionId, HostReport report)
    {
        if (Standing(sessionId) is var standing and not SessionStanding.Current) return standing;
        (_report, _heardUnixMs) = (report, NowUnixMs);
        await TellVmsAsync(report);
        foreach (var module in report.Modules)
            if (_desired?.Modules.FirstOrDefault(order => order.Module == module.Module)?.Record is { } ordered && ordered.Epoch < module.Record.Epoch)
                await GrainFactory.GetGrain<IMirrorModuleGrain>(module.Module).HeardAsync(module.Record);
        if (_heardUnixMs - _state.Value.LastSeenUnixMs >= LastSeenSavedEveryMs)
            await _state.SaveAsync(_state.Value with { LastSeenUnixMs = _heardUnixMs });
        return SessionStanding.Current;
    }

    public async Task<DesiredAnswer> DesiredAsync(Guid sessionId)
    {
        if (Standing(sessionId) is var standing and not SessionStanding.Current) return new DesiredAnswer(standing, null);
        if (await _generation.IsSupersededAsync())
        {
            LogSuperseded(Key);
            return new DesiredAnswer(SessionStanding.Current, null);
        }
        var known = await ReadClusterAsync();
        if (known is { Recovery: not null } || (known is null && _generation.Number > 0))
            return new DesiredAnswer(SessionStanding.Current, null) { Recover = _generation.Number };
        if (_ahead) return new DesiredAnswer(SessionStanding.Current, null);
        if (known is not { } cluster) return new DesiredAnswer(SessionStanding.Superseded, null);

        var peer = PeerKey(cluster);
        var addresses = peer is null ? new HostAddresses(null, null) : await GrainFactory.GetGrain<IHostGrain>(peer).ReadAddressesAsync();
        var orders = await Task.WhenAll(cluster.Modules.Select(entry =>
            GrainFactory.GetGrain<IMirrorModuleGrain>(GrainKey.Of(cluster.Name, entry.Module)).ReadOrderAsync()));
        var wanted = new DesiredHost(0, peer, addresses, cluster.Policy.DetectionMs, [.. orders.OfType<ModuleOrder>()], cluster.Policy.Link)
        {
            Policy = cluster.Policy,
        };

        var fingerprint = DesiredFingerprint.Of(wanted);
        if (fingerprint != _state.Value.DesiredFingerprint)
            await _state.SaveAsync(_state.Value with { DesiredFingerprint = fingerprint, DesiredVersion = _state.Value.DesiredVersion + 1 });
        _desired = wanted with { Version = _state.Value.DesiredVersion };
        _ordered = _desired.Modules.ToImmutableDictionary(order => order.Module, order =>
            _ordered.TryGetValue(order.Module, out var before) && before.Incarnation == order.Record.Incarnation
                ? before
                : new Ordered(order.Record.Incarnation, _desired.Version));
        return new DesiredAnswer(SessionStanding.Current, _desired);
    }

    public async Task HintAsync()
    {
        if (Connected && _observer is { } observer) await observer.DesiredChangedAsync();
    }

    public Task<HostView> ReadAsync() => Task.FromResult(new HostView(
        Key, _state.Value.PublicKeyHash is not null, Connected, _session, Math.Max(_heardUnixMs, _state.Value.LastSeenUnixMs),
        Connected && _report.PeerReachable, _state.Value.DesiredVersion, _report.DesiredVersion, _report.Modules)
    {
        Networks = Connected ? _report.Networks : [],
        Ahead = Connected && _ahead,
    });

    public Task<HostAddresses> ReadAddressesAsync() => Task.FromResult(_state.Value.Addresses);

    public Task<HostWord> ReadModuleAsync(string module, Guid recordIncarnation)
    {
        var speaksOfIt = Connected && _ordered.TryGetValue(module, out var ordered)
            && ordered.Incarnation == recordIncarnation && _report.DesiredVersion >= ordered.SinceVersion;
        return Task.FromResult(new HostWord(
            Connected, speaksOfIt ? _report.Modules.FirstOrDefault(report => report.Module == module) : null));
    }

    /// <summary>Whether a host that this database does not know is one that it has forgotten: only after a declared restore, and only where there is
    /// room for it in its cluster.</summary>
    private async Task<bool> IsToBeAdoptedAsync() => _generation.Number > 0 && await ReadClusterAsync() switch
    {
        null => true,
        { Recovery: not null } cluster => cluster.Hosts.Length < ClusterMembership.HostsMax || cluster.Hosts.Contains(GrainKey.NameOf(Key)),
        var cluster => cluster.Rebuilt && cluster.Hosts.Contains(GrainKey.NameOf(Key)),
    };

    private SessionStanding Standing(Guid sessionId) =>
        _session is null ? SessionStanding.Forgotten
        : _session.SessionId == sessionId ? SessionStanding.Current
        : SessionStanding.Superseded;

    private void EndSession() => (_session, _observer) = (null, null);

    private Task<ClusterView?> ReadClusterAsync() => GrainFactory.GetGrain<IClusterGrain>(GrainKey.ClusterOf(Key)).ReadAsync();

    private string? PeerKey(ClusterView cluster) =>
        cluster.Hosts.FirstOrDefault(host => host != GrainKey.NameOf(Key)) is { } peer ? GrainKey.Of(cluster.Name, peer) : null;

    private async Task<IHostGrain?> ReadPeerAsync() =>
        await ReadClusterAsync() is { } cluster && PeerKey(cluster) is { } peer ? GrainFactory.GetGrain<IHostGrain>(peer) : null;

    /// <summary>Passes on what changed about VMs, once.</summary>
    private async Task TellVmsAsync(HostReport report)
    {
        foreach (var module in report.Modules)
        {
            if (module.VmState is not { } state || _vmsTold.GetValueOrDefault(module.Module) == (state, module.Record.Epoch)) continue;
            if (_desired?.Modules.FirstOrDefault(order => order.Module == module.Module)?.Spec.Vm is not { } vm) continue;
            await GrainFactory.GetGrain<IVmGrain>(GrainKey.Of(GrainKey.ClusterOf(Key), vm.Domain)).SightedAsync(new VmSighting(
                module.Module, vm.DefinitionFile, Key, state, module.Record.Epoch, module.SinceUnixMs));
            _vmsTold[module.Module] = (state, module.Record.Epoch);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The database was declared restored while this server ran: nothing is granted or ordered here. Stop and start it. host={Host}")]
    private partial void LogSuperseded(string host);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host joined host={Host}")]
    private partial void LogJoined(string host);

    [LoggerMessage(Level = LogLevel.Error, Message = "The host has a later version of its orders than the database: was it restored without --restored? host={Host} has={Has} database={Stored}")]
    private partial void LogAhead(string host, long has, long stored);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host taken back after a loss of the database, by its certificate host={Host}")]
    private partial void LogAdopted(string host);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host connected host={Host} incarnation={Incarnation}")]
    private partial void LogConnected(string host, Guid incarnation);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host disconnected host={Host}")]
    private partial void LogDisconnected(string host);
}
