using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Needs trusted extended attributes, so root.</summary>
internal sealed class ReplicationFactAttribute : FactAttribute
{
    public ReplicationFactAttribute()
    {
        if (Environment.UserName != "root")
            Skip = "needs root: object ids are kept in trusted extended attributes";
    }
}

/// <summary>A host of the pair: real directories, a real engine, a real socket, and the smallest role machine that grants what is asked.</summary>
internal sealed class ReplicationHost : IReplicationEvents, ISyncBases, IVolumeCompletions, IAsyncDisposable
{
    public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    private readonly BlockingCollection<string> _events = [];
    private readonly ConcurrentQueue<string> _notes = [];
    private readonly ConcurrentDictionary<ulong, TaskCompletionSource<int>> _pending = new();
    private readonly ReplicationListener _listener;
    private readonly bool _dialsPlaintext;
    private readonly bool _allowsPlaintext;
    private long _nextTag;
    private IPEndPoint? _peer;

    /// <param name="dialsPlaintext">This host asks for a link without encryption.</param>
    /// <param name="allowsPlaintext">This host grants one.</param>
    public ReplicationHost(
        string name, string peer, string root, long detectionMs = 4_000, string? moduleDirectory = null, bool dialsPlaintext = false, bool allowsPlaintext = false)
    {
        (_dialsPlaintext, _allowsPlaintext) = (dialsPlaintext, allowsPlaintext);
        (Name, Root) = (name, root);
        ModuleDirectory = moduleDirectory ?? Path.Combine(root, name, "module");
        StateDirectory = Path.Combine(root, name, "state");
        Directory.CreateDirectory(ModuleDirectory);
        DetectionMs = detectionMs;
        PeerName = peer;
        Engine = NewEngine();
        _listener = new ReplicationListener(
            new IPEndPoint(IPAddress.Loopback, 0), (transport, _) => Interposed(transport, Wrap), module => module == "m" ? Engine : null,
            TimeSpan.FromSeconds(4));
    }

    public string Name { get; }
    public string PeerName { get; }
    public string Root { get; }
    public string ModuleDirectory { get; }
    public string StateDirectory { get; }
    public long DetectionMs { get; }
    public ReplicationEngine Engine { get; private set; }
    public Guid Incarnation { get; } = Guid.NewGuid();
    public LocalState State { get; set; } = LocalState.Fresh;

    /// <summary>Puts something between accepted sockets and the engine.</summary>
    public Func<ILinkLayer, ILinkLayer> Wrap { get; set; } = static layer => layer;

    /// <summary>Puts something between the engine and the sockets that it dials.</summary>
    public Func<ILinkLayer, ILinkLayer> WrapDialled { get; set; } = static layer => layer;

    /// <summary>Where something is mounted over the module's directory.</summary>
    public Func<ObjectStore>? OpenStore { get; set; }

    /// <summary>False: events are only recorded, the test does the rest.</summary>
    public bool Obliging { get; set; } = true;

    LocalState ISyncBases.Current => State;

    public IModuleVolume Volume => Engine.Volume;

    public void Know(ReplicationHost peer) => _peer = peer._listener.EndPoint;

    public void Record(long epoch, string primary, params string[] inSync) =>
        State = State with { Record = new AuthorityRecord(RecordIncarnation, epoch, primary, [.. inSync]) };

    public static readonly Guid RecordIncarnation = Guid.Parse("11111111-1111-1111-1111-111111111111");

    /// <summary>As after a SIGKILL of the process: the engine object is left alone, its files are used by a new one.</summary>
    public void Crash() => Engine = NewEngine();

    public Task Serve(long epoch, bool peerIsMember = false) => Engine.ServeAsync(epoch, peerIsMember, this, CancellationToken.None);

    public Task<int> Write(ulong obj, long offset, byte[] data) => Write(Volume, obj, offset, data);

    public Task<int> Write(IModuleVolume volume, ulong obj, long offset, byte[] data)
    {
        var (tag, task) = NewTag();
        volume.Write(obj, offset, data, tag);
        return task;
    }

    public Task<int> Flush(ulong obj = 0)
    {
        var (tag, task) = NewTag();
        Volume.Flush(obj, true, tag);
        return task;
    }

    public async Task<ObjectAttributes> Mutate(Mutation mutation)
    {
        var (error, attributes) = await TryMutate(mutation);
        Assert.Equal(0, error);
        return attributes;
    }

    public Task<(int Error, ObjectAttributes Attributes)> TryMutate(Mutation mutation)
    {
        var done = new TaskCompletionSource<(int, ObjectAttributes)>(TaskCreationOptions.RunContinuationsAsynchronously);
        Volume.Mutate(mutation, (error, attributes) => done.SetResult((error, attributes)));
        return done.Task.WaitAsync(Deadline);
    }

    public async Task<ulong> Create(string name, ulong parent = 1) =>
        (await Mutate(new Mutation(MutationKind.CreateFile) { Parent = parent, Name = Encoding.UTF8.GetBytes(name), Mode = 0x8180 })).Object;

    /// <summary>Waits for an event by its first words; events before it are passed over.</summary>
    public string Expect(string start)
    {
        var seen = new List<string>();
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (clock.Elapsed < Deadline && _events.TryTake(out var next, Deadline))
        {
            if (next.StartsWith(start, StringComparison.Ordinal))
                return next;
            seen.Add(next);
        }
        throw new TimeoutException($"{Name}: no '{start}'; seen: {string.Join("; ", seen)}; status {Engine.Status}");
    }

    public bool Saw(string start) => _events.Any(e => e.StartsWith(start, StringComparison.Ordinal));

    public void SessionUp(Guid peerIncarnation) => _events.Add("up");
    public void SessionLost(string reason) => _events.Add($"lost {reason}");
    public void Quiesced() => _events.Add("quiesced");
    public void LocalFault(string reason) => _events.Add($"fault {reason}");

    void IReplicationEvents.Noted(string kind, string text) => _notes.Enqueue($"{kind}: {text}");

    public Action<VerifyReport> VerifyEnded { get; set; } = static _ => { };

    void IReplicationEvents.VerifyEnded(VerifyReport report) => VerifyEnded(report);

    /// <summary>What was told to the module's history.</summary>
    public IReadOnlyCollection<string> Notes => _notes;

    public void ResyncStarting(Guid syncBase)
    {
        _events.Add($"starting {syncBase}");
        if (!Obliging)
            return;
        State = State.Record.Primary == Name ? State with { PendingSyncBase = syncBase } : State with { DataState = DataState.Inconsistent };
        Engine.AllowResync(syncBase);
    }

    public void ReplicaFlushed(Guid syncBase)
    {
        if (Obliging)
        {
            State = State with { DataState = DataState.UpToDate, SyncBase = syncBase };
            Engine.ConfirmResynced(syncBase);
        }
        _events.Add($"flushed {syncBase}");
    }

    public void PeerCaughtUp(Guid syncBase)
    {
        if (Obliging)
            State = State with { SyncBase = syncBase, PendingSyncBase = Guid.Empty };
        _events.Add($"caught-up {syncBase}");
    }

    void IVolumeCompletions.Completed(OperationTag tag, int errno, int count)
    {
        if (!_pending.TryRemove(tag.Unique, out var done) || !done.TrySetResult(errno))
            throw new InvalidOperationException($"Operation {tag.Unique} was completed twice.");
    }

    public async ValueTask DisposeAsync()
    {
        await Engine.DisposeAsync();
        await _listener.DisposeAsync();
    }

    private (OperationTag Tag, Task<int> Done) NewTag()
    {
        var tag = new OperationTag((ulong)Interlocked.Increment(ref _nextTag), 7);
        var done = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
        _pending[tag.Unique] = done;
        return (tag, done.Task);
    }

    private ReplicationEngine NewEngine() => new(NewOptions());

    public ReplicationOptions NewOptions() => new()
    {
        ResyncFlushBytes = 4 << 20,
        Module = "m",
        PeerHost = PeerName,
        Incarnation = Incarnation,
        Timings = new RoleTimings(DetectionMs),
        StateDirectory = StateDirectory,
        OpenStore = () => OpenStore?.Invoke() ?? ObjectStore.Open(ModuleDirectory),
        Dial = _dialsPlaintext ? cancel => PlaintextLink.DialAsync("m", DialAsync, (_, token) => ConnectAsync(token), cancel) : DialAsync,
        AllowsPlaintext = _allowsPlaintext,
        Bases = this,
        Events = this,
    };

    private async ValueTask<LinkConnection> DialAsync(CancellationToken cancel)
    {
        var (connection, _) = await LinkConnection.SecureAsync(
            new LinkTransport(await ConnectAsync(cancel)), (transport, _) => Interposed(transport, WrapDialled), cancel);
        return connection;
    }

    private ValueTask<string> Interposed(LinkTransport transport, Func<ILinkLayer, ILinkLayer> layer)
    {
        transport.Interpose(layer);
        return new ValueTask<string>(PeerName);
    }

    private async ValueTask<Socket> ConnectAsync(CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await socket.ConnectAsync(_peer!, cancel);
            SocketTuning.Apply(socket, TimeSpan.FromSeconds(4));
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}

/// <summary>Two hosts, "a" and "b", in a temporary directory.</summary>
internal sealed class ReplicationPair : IAsyncDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("pollux-repl-").FullName;

    /// <param name="bDirectory">Where B keeps the module; a directory of its own by default. <paramref name="aDirectory"/> likewise.</param>
    /// <param name="plaintext">A asks for a plain link; with <c>true</c> B grants it.</param>
    public ReplicationPair(long detectionMs = 4_000, string? bDirectory = null, bool? plaintext = null, string? aDirectory = null)
    {
        A = new ReplicationHost("a", "b", _root, detectionMs, aDirectory, dialsPlaintext: plaintext is not null);
        B = new ReplicationHost("b", "a", _root, detectionMs, bDirectory, allowsPlaintext: plaintext == true);
        A.Know(B);
        B.Know(A);
    }

    public ReplicationHost A { get; }
    public ReplicationHost B { get; }

    /// <summary>A serves alone in epoch 1.</summary>
    public async Task ServeAlone()
    {
        A.Record(1, "a", "a");
        A.State = A.State with { DataState = DataState.UpToDate };
        await A.Serve(1);
    }

    /// <summary>B, out of the record, is resynced and joins in the next epoch.</summary>
    public async Task Join()
    {
        var epoch = A.State.Record.Epoch;
        B.Record(epoch, "a", "a");
        await B.Engine.FollowAsync(epoch, CancellationToken.None);
        A.Engine.AttachPeer(epoch, inSync: false);
        A.Expect("caught-up");
        A.Record(epoch + 1, "a", "a", "b");
        B.Record(epoch + 1, "a", "a", "b");
        A.Engine.SetEpoch(epoch + 1);
    }

    public async Task ServeMirrored()
    {
        await ServeAlone();
        await Join();
    }

    /// <summary>A's peer is confirmed to be out of the record.</summary>
    public void Exclude()
    {
        var epoch = A.State.Record.Epoch + 1;
        A.Record(epoch, "a", "a");
        A.Engine.DetachPeer(epoch);
    }

    /// <summary>Both trees hold the same names, types, modes, links and contents.</summary>
    public void AssertEqual() => Assert.Equal(Describe(A.ModuleDirectory), Describe(B.ModuleDirectory));

    public async ValueTask DisposeAsync()
    {
        await A.DisposeAsync();
        await B.DisposeAsync();
        Directory.Delete(_root, recursive: true);
    }

    /// <summary>Names, types, modes, links and contents of a tree, without Pollux' own.</summary>
    public static string[] Describe(string directory) =>
    [
        .. Directory.EnumerateFileSystemEntries(directory, "*", SearchOption.AllDirectories)
            .Select(path => (Name: Path.GetRelativePath(directory, path), Path: path))
            .Where(entry => !entry.Name.StartsWith(".pollux", StringComparison.Ordinal))
            .OrderBy(entry => entry.Name, StringComparer.Ordinal)
            .Select(entry => $"{entry.Name} {Content(entry.Path)}"),
    ];

    private static string Content(string path)
    {
        var entry = new FileInfo(path);
        if (entry.LinkTarget is { } target)
            return $"link to {target}";
        if (entry.Attributes.HasFlag(FileAttributes.Directory))
            return $"{entry.UnixFileMode} directory";
        using var file = entry.OpenRead();
        return $"{entry.UnixFileMode} {file.Length} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(file))}";
    }
}
