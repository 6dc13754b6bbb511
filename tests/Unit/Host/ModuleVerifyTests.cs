using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Replication;
using Pollux.HostProtocol;
using Pollux.Tests.Unit.Replication;

namespace Pollux.Tests.Unit.Hosts;

/// <summary>Orders to verify, on a mirrored pair of real directories of which one is changed behind the engine's back.</summary>
public sealed class ModuleVerifyTests : IAsyncLifetime
{
    private const int MiB = 1 << 20;
    private readonly ReplicationPair _pair = new();
    private readonly List<string> _notes = [];
    private readonly SemaphoreSlim _ended = new(0);
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-verify-").FullName;
    private ModuleVerify _verify = null!;

    public Task InitializeAsync()
    {
        _verify = Open();
        _pair.A.VerifyEnded = report => _verify.Ended(report);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _pair.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    [ReplicationFact]
    public async Task Exactly_the_changed_range_is_told_repaired_on_request_and_then_gone()
    {
        await MirroredAsync();
        DamageContent(2 * MiB + 8192, 4096);
        var found = await RunAsync(Order());
        Assert.Equal(("completed", 4096L, 0), (found.State, found.DifferentBytes, found.DifferentEntries));
        Assert.Equal([new VerifyDifference("/disk", 2 * MiB + 8192, 4096, "content")], found.Differences.ToArray());
        Assert.Equal(["verify.copies-differ"], ModuleVerify.Problems("c/m", found).Select(problem => problem.Code));

        var repaired = await RunAsync(Order(repair: true));
        Assert.Equal((4096L, 4096L, true), (repaired.DifferentBytes, repaired.RepairedBytes, repaired.Repaired));
        Assert.Empty(ModuleVerify.Problems("c/m", repaired));
        _pair.AssertEqual();

        var clean = await RunAsync(Order());
        Assert.Equal((0L, 0, clean.TotalBytes), (clean.DifferentBytes, clean.DifferentEntries, clean.DoneBytes));
    }

    [ReplicationFact]
    public async Task Names_modes_owners_attributes_and_lengths_are_compared_as_they_stand_on_the_disk()
    {
        await MirroredAsync();
        foreach (var name in (string[])["mode", "owner", "length", "gone"])
            Assert.Equal(0, await _pair.A.Write(await _pair.A.Create(name), 0, new byte[100]));
        await _pair.A.Flush();
        File.SetUnixFileMode(InB("mode"), UnixFileMode.UserRead);
        Assert.Equal(0, Chown(InB("owner"), 12, 34));
        using (var longer = File.OpenWrite(InB("length")))
            longer.SetLength(300);
        File.Delete(InB("gone"));
        File.WriteAllText(InB("foreign"), "somebody else's");

        var found = await RunAsync(Order());
        Assert.Equal("completed", found.State);
        Assert.Equal(
            [("/", "directory entries"), ("/gone", "missing on the secondary"), ("/length", "size"), ("/mode", "mode"), ("/owner", "owner")],
            found.Differences.Where(difference => difference.OffsetBytes is null).Select(difference => (difference.Path, difference.What)).Order());
        Assert.Contains(found.Differences, difference => difference is { Path: "/length", OffsetBytes: 100, LengthBytes: 200 });
    }

    [ReplicationFact]
    public async Task An_order_is_carried_out_once_however_often_it_comes()
    {
        await MirroredAsync();
        var order = Order();
        var first = await RunAsync(order);
        _verify.Wish(order);
        Assert.Null(await _verify.DoAsync(order));
        Assert.Equal(first, _verify.Observe(null));
        Assert.Single(_notes, note => note.StartsWith("verify.started", StringComparison.Ordinal));
    }

    [ReplicationFact]
    public async Task A_verify_that_cannot_begin_says_why_and_does_not_hide_what_was_found_before()
    {
        await MirroredAsync();
        DamageContent(0, 10);
        await RunAsync(Order());
        _pair.Exclude();
        Assert.Contains("not mirrored", await _verify.DoAsync(Order()));
        Assert.Equal(["verify.copies-differ", "verify.unfinished"], ModuleVerify.Problems("c/m", _verify.Observe(null)).Select(problem => problem.Code));
    }

    [ReplicationFact]
    public async Task A_running_verify_is_slowed_down_and_stopped_at_once()
    {
        await MirroredAsync();
        var order = Order() with { BytesPerSecondMax = 1 };
        Assert.Null(await _verify.DoAsync(order));
        Assert.Equal("running", _verify.Observe(_pair.A.Engine.Status.Verify)!.State);
        Assert.Equal("a verify runs already", await _verify.DoAsync(Order()));
        Assert.Null(await _verify.DoAsync(order with { Stop = true }));
        await EndAsync();
        Assert.Equal("stopped", _verify.Observe(null)!.State);
    }

    [ReplicationFact]
    public async Task The_outcome_outlives_the_process_and_a_verify_that_did_not_end_is_told()
    {
        await MirroredAsync();
        DamageContent(MiB, 4096);
        var found = await RunAsync(Order());
        var again = Open().Observe(null)!;
        Assert.Equal(found with { Differences = again.Differences }, again);
        Assert.Equal(found.Differences.ToArray(), again.Differences.ToArray());

        Assert.Null(await _verify.DoAsync(Order() with { BytesPerSecondMax = 1 }));
        var interrupted = Open().Observe(null)!;
        Assert.Equal(("failed", "pollux-host ended before the verify did"), (interrupted.State, interrupted.Reason));
        Assert.Contains("verify.unfinished", ModuleVerify.Problems("c/m", interrupted).Select(problem => problem.Code));
    }

    [Fact]
    public void A_damaged_file_is_no_outcome()
    {
        File.WriteAllBytes(Path.Combine(_directory, "verify"), [1, 2, 3]);
        Assert.Null(Open().Observe(null));
    }

    private static VerifyOrder Order(bool repair = false) => new(Guid.NewGuid(), "c/a", repair, 0, Stop: false);

    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "chown", SetLastError = true)]
    private static extern int Chown(string path, uint owner, uint group);

    private ModuleVerify Open() => new("c/m", _pair.A.Engine, new VerifyFile(_directory), (kind, text) =>
    {
        lock (_notes)
            _notes.Add($"{kind}: {text}");
        if (kind == "verify.ended")
            _ended.Release();
    });

    private string InB(string name) => Path.Combine(_pair.B.ModuleDirectory, name);

    private async Task MirroredAsync()
    {
        await _pair.ServeMirrored();
        var disk = await _pair.A.Create("disk");
        var content = new byte[MiB];
        for (var i = 0; i < 4; i++)
        {
            new SeededRandom((ulong)i + 1).Fill(content);
            Assert.Equal(0, await _pair.A.Write(disk, (long)i * MiB, content).WaitAsync(ReplicationHost.Deadline));
        }
        Assert.Equal(0, await _pair.A.Flush().WaitAsync(ReplicationHost.Deadline));
    }

    private void DamageContent(long offset, int length)
    {
        using var file = File.OpenWrite(InB("disk"));
        file.Position = offset;
        file.Write(Enumerable.Repeat((byte)0xEE, length).ToArray());
    }

    private async Task<ObservedVerify> RunAsync(VerifyOrder order)
    {
        Assert.Null(await _verify.DoAsync(order));
        await EndAsync();
        return _verify.Observe(null)!;
    }

    private async Task EndAsync()
    {
        // The note is the last step of an end: the outcome is stored by then.
        await _ended.WaitAsync(ReplicationHost.Deadline);
    }
}
