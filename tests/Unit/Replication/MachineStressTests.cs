using System.Text;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Guests, losses of the peer and returns at any moment, effects in any order that a shell may choose.</summary>
public sealed class MachineStressTests
{
    private const int FileBytes = 3 << 20;

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 16)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Both_copies_end_equal_and_every_operation_ends_once(int seed)
    {
        var random = new SeededRandom((ulong)seed);
        var pair = new MachinePair();
        var (a, b) = (pair.A, pair.B);
        pair.ServeAlone();
        var files = new List<ulong>();
        for (var i = 0; i < 3; i++)
            files.Add(pair.Create($"f{i}", 10 + (ulong)i));
        a.Chooses = b.Chooses = () => random.Below(100) < 70;
        var tag = 100UL;
        var tags = new List<ulong>();
        for (var step = 0; step < 400; step++)
        {
            var file = files[random.Below(files.Count)];
            switch (random.Below(24))
            {
                case < 8:
                    tags.Add(++tag);
                    a.Write(tag, file, random.Below(FileBytes), MachinePair.Bytes(1 + random.Below(150_000), step));
                    break;
                case < 11:
                    tags.Add(++tag);
                    a.Flush(tag, random.Below(2) == 0 ? 0 : file);
                    break;
                case 11:
                    tags.Add(++tag);
                    a.Mutate(tag, new Mutation(MutationKind.SetAttributes) { Object = file, Mask = AttributeMask.Size, SizeBytes = random.Below(FileBytes) });
                    break;
                case 12:
                    tags.Add(++tag);
                    a.Mutate(tag, new Mutation(MutationKind.Allocate) { Object = file, OffsetBytes = random.Below(FileBytes), LengthBytes = 1 + random.Below(400_000) });
                    break;
                case 13:
                    tags.Add(++tag);
                    a.Mutate(tag, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes($"s{step}"), Mode = 0x81A4 });
                    break;
                case 14 when random.Below(4) == 0 && b.Replica is not null:
                    b.Crash();
                    break;
                case 15 when b.Replica is null:
                    // Out of the record, and back.
                    if (a.State.Record.InSync.Contains("b"))
                        pair.Exclude(run: false);
                    b.Follow(a.State.Record.Epoch);
                    a.Source!.AttachPeer(a.State.Record.Epoch, inSync: false);
                    break;
                case 16 when random.Below(8) == 0:
                    a.Source!.Freeze();
                    break;
                case 17:
                    a.Source!.Unfreeze();
                    break;
                case 19 when random.Below(3) == 0:
                    a.Link?.Break("cut");
                    break;
                case 18 when a.Source!.StartVerify(repair: false, long.MaxValue, out _):
                    break;
                default:
                    pair.Clock.NowMs += random.Below(30);
                    pair.Step();
                    if (a.Events.Remove("caught-up"))
                        pair.Joined();
                    break;
            }
            if (a.Source!.Status.Verify.DifferentBytes > 0)
                Assert.Fail($"seed {seed}, step {step}: a false alarm");
        }
        a.Chooses = b.Chooses = static () => true;
        a.Source!.Unfreeze();
        if (b.Replica is null || a.Source.Status is { SessionUp: false })
        {
            b.Crash();
            pair.Exclude(run: false);
            b.Follow(a.State.Record.Epoch);
            a.Source.AttachPeer(a.State.Record.Epoch, inSync: false);
        }
        pair.Pass(12_000);
        tags.Add(++tag);
        a.Flush(tag);
        pair.Run();
        Assert.All(tags, t => Assert.True(a.Completed.TryGetValue(t, out var errno) && errno == 0, $"seed {seed}: {t} did not end well; {a.Source.Status}"));
        Assert.True(a.Source.Status.SessionUp, $"seed {seed}: {string.Join("; ", a.Events)}");
        pair.AssertEqual();
        Assert.Equal(0, a.Source.Status.DirtyBytes + a.Source.Status.UnflushedBytes);
        Assert.DoesNotContain(a.Events.Concat(b.Events), static e => e.StartsWith("fault", StringComparison.Ordinal));
    }
}
