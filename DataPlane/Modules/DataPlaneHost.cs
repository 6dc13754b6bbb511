using System.Collections.Concurrent;
using System.Net.Sockets;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Peers;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>The data plane of one host: its links, and its modules as the newest desired state wants them.</summary>
/// <remarks>
/// One loop reconciles: it wakes when the desired state changes and looks by itself meanwhile. The desired state is stored before it is
/// acted on, so a host that starts while the control plane is away goes on with what it knew. Files: .Links (what comes from peer and
/// control plane, and the ways out of a module), .Opening (how a module is prepared and opened).
/// </remarks>
public sealed partial class DataPlaneHost : IAsyncDisposable
{
    /// <summary>Interval of looks while a module is on its way, and while all is settled, milliseconds.</summary>
    private const int ActingMs = 100;
    private const int SettledMs = 2_000;

    /// <summary>Unacknowledged data of a replication session for longer than this ends it (TCP_USER_TIMEOUT).</summary>
    private static readonly TimeSpan ReplicationSilenceMax = TimeSpan.FromSeconds(5);

    /// <summary>A small part of the shortest lease (1 s): the next process has to be there before it ends.</summary>
    private static readonly TimeSpan QuietMax = TimeSpan.FromMilliseconds(300);

    private readonly HostIdentity _identity;
    private readonly DataPlaneOptions _options;
    private readonly HostTls _tls;
    private readonly IHypervisor _hypervisor;
    private readonly GuardClient _guard;
    private readonly HostFencing _fencing;
    private readonly EarlierGuard? _earlier;
    private readonly ControlLink _control;
    private readonly PeerLink _peers;
    private readonly DesiredStateCache _cache;
    private readonly Guid _incarnation = Guid.NewGuid();
    private readonly bool _lostPower;
    private readonly ConcurrentDictionary<string, ModuleSlot> _slots = new();
    private readonly ConcurrentDictionary<string, (Guid Record, IReadOnlyList<long> Bytes)> _contentOfPeer = new();
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly StartGate _starts = new(() => BootClock.NowMs);
    private ReplicationListener? _replication;
    private Task _loop = Task.CompletedTask;
    private volatile DesiredState? _desired;
    private volatile PeerHost? _peer;
    private volatile string? _hypervisorName;
    private readonly ReplicationDialler _dialler;
    private readonly OwnAddresses _addresses;
    private long _observedVersion;

    /// <param name="earlier">What an earlier process has left to its guard, if anything.</param>
    public DataPlaneHost(
        HostIdentity identity, DataPlaneOptions options, IHypervisor hypervisor, GuardClient guard, HostFencing fencing, EarlierGuard? earlier,
        bool lostPower)
    {
        _earlier = earlier;
        _identity = identity;
        _options = options;
        _hypervisor = hypervisor;
        _guard = guard;
        _fencing = fencing;
        _lostPower = lostPower;
        _tls = new HostTls(identity);
        _cache = new DesiredStateCache(options.DataDirectory);
        _control = new ControlLink(identity, _tls, Hello, this, new ControlLinkOptions());
        _peers = new PeerLink(_tls, identity.Host, PeerAddress.EveryOf(options.PeerPort), this);
        _dialler = new ReplicationDialler(_tls, _peers, ReplicationSilenceMax);
        _addresses = new OwnAddresses(identity, options);
        PeerMetrics.Show(_peers);
    }

    /// <summary>Completes when the control plane has welcomed this host for the first time.</summary>
    public Task ConnectedOnce => _control.ConnectedOnce;

    /// <exception cref="SocketException">A port is in use.</exception>
    public async Task StartAsync(CancellationToken cancel)
    {
        _hypervisorName = await _hypervisor.DescribeAsync(cancel).ConfigureAwait(false);
        if (_hypervisorName is null)
            HostLog.Warn("hypervisor", "libvirt does not answer: modules with a VM cannot run on this host");
        _peers.Start();
        _replication = new ReplicationListener(
            PeerAddress.EveryOf(_options.ReplicationPort), _tls.AcceptLinkAsync,
            module => _slots.TryGetValue(module, out var slot) ? slot.Runtime?.Engine as ReplicationEngine : null, ReplicationSilenceMax);
        _desired = _cache.Load();
        _control.Start();
        _loop = Vital.Run("reconciling", ReconcileAsync);
    }

    /// <summary>What <c>pollux-host status</c> shows.</summary>
    public HostStatus Status() => new(
        _identity.Host, _control.Status, _peer?.Host, _peers.Status, _peers.PeerReachable, _hypervisorName, _lostPower,
        GC.GetTotalAllocatedBytes(precise: true), Observe());

    /// <summary>Leaves all modules in order: VMs are stopped within their leases, copies flushed, mounts taken away. The peer takes over what it
    /// may when the detection time has passed.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        await Task.WhenAll(_slots.Values.Select(slot => slot.CloseAsync())).ConfigureAwait(false);
        if (_replication is { } replication)
            await replication.DisposeAsync().ConfigureAwait(false);
        await _peers.DisposeAsync().ConfigureAwait(false);
        await _control.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>The end for a restart: VMs and their mounts are left to the guard, and go on with the next process. The process must end
    /// then: nothing else is left in order, and nothing needs to be.</summary>
    public async Task HandOverAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_slots.Values.Select(static slot => slot.Runtime?.QuietAsync(QuietMax) ?? Task.CompletedTask)).ConfigureAwait(false);
        _guard.HandOver();
    }

    private async Task ReconcileAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            if (_addresses.Changed())
                _control.Renew("the addresses of this host have changed");
            var acting = _desired is { } desired && Reconcile(desired);
            await _wake.WaitAsync(acting ? ActingMs : SettledMs, _stop.Token).ContinueWith(
                static _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default).ConfigureAwait(false);
        }
    }

    /// <returns>True if another look is due soon.</returns>
    private bool Reconcile(DesiredState desired)
    {
        MeetPeer(desired);
        var modules = desired.Modules.ToDictionary(module => module.Module);
        DropUnwanted(desired);
        foreach (var module in modules.Keys)
            _slots.TryAdd(module, new ModuleSlot(module, _identity.Host, this));

        var acting = false;
        foreach (var (key, slot) in _slots)
        {
            acting |= slot.Reconcile(modules.GetValueOrDefault(key), BootClock.NowMs);
            if (slot.Gone && !modules.ContainsKey(key))
                _slots.TryRemove(key, out _);
        }

        if (Interlocked.Exchange(ref _observedVersion, desired.Version) != desired.Version)
            _control.Changed();
        return acting;
    }

    /// <summary>The newest word on the peer; an address that the control plane has forgotten is still the best one known.</summary>
    private void MeetPeer(DesiredState desired)
    {
        if (desired.Peer is not { } peer)
            return;
        if (_peer is { } known && known.Host == peer.Host)
        {
            peer = peer with
            {
                PeerAddress = peer.PeerAddress ?? known.PeerAddress, ReplicationAddress = peer.ReplicationAddress ?? known.ReplicationAddress,
                Networks = peer.PeerAddress is null ? known.Networks : peer.Networks,
            };
        }

        _peer = peer;
        var networks = OwnAddresses.NetworksOf(peer);
        _dialler.SetPeer(peer.Host, [.. networks.Select(static network => network.ReplicationAddress)]);
        _peers.SetPeer(peer.Host, [.. networks.Select(static network => network.PeerAddress)]);
        if (desired.Modules.Length > 0)
            _peers.SetTempo(new PeerTempo(desired.Modules.Min(module => module.DetectionMs)));
    }

    private void Wake()
    {
        lock (_wake)
        {
            if (_wake.CurrentCount == 0)
                _wake.Release();
        }
    }

    private HostHello Hello()
    {
        var networks = _addresses.Announce();
        return new HostHello(
            HostProtocolLimits.Version, _identity.Host, _incarnation, typeof(DataPlaneHost).Assembly.GetName().Version!.ToString(3),
            networks[0].PeerAddress, networks[0].ReplicationAddress,
            new HostCapacity(Environment.ProcessorCount, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, _hypervisorName))
        {
            Networks = networks.Length > 1 ? networks : null,
            Recovers = true,
            DesiredVersion = _desired?.Version ?? 0,
        };
    }
}
