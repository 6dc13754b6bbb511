using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Replication;

/// <summary>The machines allocate nothing per operation once their tables have grown.</summary>
public sealed class HotPathMachineTests
{
    private const int Rounds = 2_000;
    private const ulong File = 7;

    [Fact]
    public void Writes_and_flushes_of_a_mirrored_volume_allocate_nothing_on_the_primary()
    {
        var shell = new Shell();
        var source = shell.Source();
        Run(Rounds);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Run(Rounds);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, Rounds / 10);
        Assert.Equal(2 * Rounds * 9, shell.Completed);

        void Run(int rounds)
        {
            for (var round = 0; round < rounds; round++)
            {
                source.Tick(shell.NowMs += 1);
                for (var i = 0; i < 8; i++)
                    source.Write(new OperationTag(1, 0), File, ((round * 8L) + i) % 1000 * 4096, new DataRef(i, 0, 4096));
                source.FinishTurn();
                shell.LogStored(source);
                for (var i = 0; i < 8; i++)
                    source.LocalWritten(shell.Slots[i], 0);
                source.FrameArrived(1, new FrameHeader(FrameKind.Ack, FrameFlags.None, 0, 1, shell.Sequence, 0, 0), []);
                source.Flush(new OperationTag(2, 0), File, dataOnly: true);
                source.LocalFlushed(shell.FlushSlot, 0);
                source.FrameArrived(1, new FrameHeader(FrameKind.Ack, FrameFlags.None, 0, 1, shell.Sequence, 0, 0), []);
                source.FrameArrived(1, new FrameHeader(FrameKind.FlushAck, FrameFlags.None, 0, 1, shell.Sequence, 0, shell.FlushSlot), []);
                source.FinishTurn();
                shell.Written = 0;
            }
        }
    }

    [Fact]
    public void Writes_and_flushes_allocate_nothing_on_the_secondary()
    {
        var shell = new Shell();
        var replica = new ReplicaMachine(Shell.Options, shell, shell, Shell.Clean(ResyncPart.Target), 1, 0);
        replica.Accepted(1, new Hello("m", Guid.NewGuid(), Guid.NewGuid(), 1, Guid.Empty, Shell.Base, Guid.Empty, SessionMode.InSync));
        replica.FinishTurn();
        var sequence = 0UL;
        var payload = new byte[4096];
        Run(Rounds);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Run(Rounds);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, Rounds / 10);
        Assert.Equal(2 * Rounds, shell.FlushAcks);

        void Run(int rounds)
        {
            for (var round = 0; round < rounds; round++)
            {
                replica.Tick(shell.NowMs += 1);
                for (var i = 0; i < 8; i++)
                    replica.FrameArrived(1, new FrameHeader(FrameKind.Write, FrameFlags.None, payload.Length, 1, ++sequence, File, i * 4096), payload, new DataRef(i, 0, 4096));
                replica.FrameArrived(1, new FrameHeader(FrameKind.Flush, FrameFlags.DataOnly, 0, 1, ++sequence, File, 3), [], default);
                for (var i = 0; i < 8; i++)
                    replica.LocalWritten(shell.Slots[i], 0);
                replica.FinishTurn();
                replica.LocalFlushed(shell.FlushSlot, 0);
                replica.FinishTurn();
                shell.Written = 0;
            }
        }
    }

    private sealed class Shell : IEngineEffects, IEngineSurroundings
    {
        public static readonly Guid Base = Guid.NewGuid();

        public static readonly EngineOptions Options = new() { Module = "m", Incarnation = Guid.NewGuid(), Timings = new RoleTimings(30_000) };

        private bool _sectorStored;
        private int _attempt;

        public long NowMs { get; set; }
        public int[] Slots { get; } = new int[8];
        public int Written { get; set; }
        public int FlushSlot { get; private set; }
        public ulong Sequence { get; private set; }
        public int Completed { get; private set; }
        public int FlushAcks { get; private set; }

        public LocalState State { get; } = LocalState.Fresh with
        {
            Record = AuthorityRecord.None with { Epoch = 1 }, DataState = DataState.UpToDate, SyncBase = Base,
        };

        public static RecoveredMarks Clean(ResyncPart part) =>
            RecoveredMarks.Read(CheckpointImage.Write([], false, ResyncClaim.None), ActivityLogImage.Empty(1024), 1024, part, out _)!;

        public SourceMachine Source()
        {
            var source = new SourceMachine(Options, this, this, Clean(ResyncPart.Source), new SourceStart(1, true, 0, 0), 0);
            source.AttachPeer(1, inSync: true);
            source.Connected(_attempt, 1);
            var payload = new byte[256];
            var length = new HelloAnswer(Guid.NewGuid(), Base, DataState.UpToDate, 1, false).Write(payload);
            source.FrameArrived(1, new FrameHeader(FrameKind.HelloAnswer, FrameFlags.None, length, 1, 0, 0, 0), payload.AsSpan(0, length));
            source.FrameArrived(1, new FrameHeader(FrameKind.Ready, FrameFlags.None, 0, 1, 0, 0, 0), []);
            return source;
        }

        public void LogStored(SourceMachine source)
        {
            while (_sectorStored)
            {
                _sectorStored = false;
                source.LogSectorStored(0, 0);
                source.FinishTurn();
            }
        }

        public void LocalWrite(int slot, ulong obj, long offsetBytes, DataRef data) => Slots[Written++] = slot;
        public void LocalFlush(int slot, ulong obj, bool dataOnly) => FlushSlot = slot;
        public void LocalMutation(int slot, Mutation mutation) { }
        public void LocalStat(int slot, ulong obj) { }
        public void LocalRepairRead(int slot, ulong obj, long offsetBytes, int lengthBytes) { }
        public void LocalCopyRead(int slot, ulong obj, long offsetBytes, long lengthBytes) { }
        public void LocalHash(int slot, ulong obj, long offsetBytes, int lengthBytes) { }
        public void LocalHole(int slot, ulong obj, long offsetBytes, long lengthBytes) { }
        public void LocalDescribe(int batch, IReadOnlyList<ulong> objects) { }
        public void TakeManifest() { }
        public void ApplyManifest(IReadOnlyList<ManifestEntry> entries) { }
        public void SettleContent() { }
        public void PreserveCopy() { }
        public void DropPreserved(bool noRoom) { }
        public void ReserveIds(ulong upTo) { }
        public void ReleaseData(DataRef data) { }

        public void StoreLogSector(int group, long offsetBytes, ReadOnlySpan<byte> sector)
        {
            Assert.Equal(0, group);
            _sectorStored = true;
        }

        public void StoreCheckpoint(ReadOnlyMemory<byte> image) { }
        public void ReplaceLog(ReadOnlyMemory<byte> image) { }
        public void Dial(int attempt) => _attempt = attempt;
        public int SendRoomBytes(int link) => 1 << 20;
        public void NameSession(int link, Guid session) { }

        public void Send(int link, in FrameHeader header, ReadOnlySpan<byte> payload)
        {
            Sequence = header.Sequence > Sequence ? header.Sequence : Sequence;
            FlushAcks += header.Kind == FrameKind.FlushAck ? 1 : 0;
        }

        public void Send(int link, in FrameHeader header, DataRef payload) => Sequence = header.Sequence;
        public void CloseLink(int link, string reason, bool afterSending) => Assert.Fail(reason);
        public void Complete(OperationTag tag, int errno, int count) => Completed += errno == 0 ? 1 : 0;
        public void CompleteMutation(OperationTag tag, int errno, in ObjectAttributes attributes) { }
        public void SessionUp(Guid peerIncarnation) { }
        public void SessionLost(string reason) { }
        public void ResyncStarting(Guid syncBase) { }
        public void ReplicaFlushed(Guid syncBase) { }
        public void PeerCaughtUp(Guid syncBase) { }
        public void Quiesced() { }
        public void LocalFault(string reason) { }
        public void Stopped() { }
        public Guid NewGuid() => Guid.NewGuid();
        public double NextUnit() => 0;
        public bool IsReferenced(ulong obj) => false;
    }
}
