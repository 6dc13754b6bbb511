using System.Text.Json;
using Pollux.Lab;
using Pollux.Lab.Guest;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>Verify and the limits of a resync, by the operator's commands, under a writing guest.</summary>
[Collection(PairCollection.Name)]
public sealed class VerifyTests(PairStage stage)
{
    /// <summary>Far behind what the guest writes (16 MiB of its 64 MiB disk).</summary>
    private const long DamageOffset = 48L << 20;
    private const int DamageBytes = 8192;

    [LabFact]
    public async Task Exactly_what_was_damaged_behind_the_mount_is_found_and_repaired_under_a_writing_guest()
    {
        var scene = await stage.ReadyAsync();
        var clean = await VerifyAsync(scene);
        Assert.Equal((0, 0L, 0), (clean.Code, clean.DifferentBytes, clean.Differences.Count));

        // Below the cover of the secondary: no engine hears of it.
        await using (var disk = new FileStream(Path.Combine(scene.Module.CopyOn(scene.Secondary.Name), GuestDomain.DiskFile), FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
        {
            disk.Position = DamageOffset;
            await disk.WriteAsync(Enumerable.Repeat((byte)0xDA, DamageBytes).ToArray());
            disk.Flush(flushToDisk: true);
        }

        var found = await VerifyAsync(scene);
        Assert.Equal(1, found.Code);
        Assert.Equal((DamageBytes, 0), (found.DifferentBytes, found.DifferentEntries));
        Assert.Equal([($"/{GuestDomain.DiskFile}", DamageOffset, (long)DamageBytes)], found.Differences);
        await scene.Module.WaitForAsync("the problem is told", TimeSpan.FromSeconds(15),
            status => status.On(scene.Primary.Name)?.Problems?.Any(problem => problem.Code == "verify.copies-differ") == true);

        var repaired = await VerifyAsync(scene, "--repair");
        Assert.Equal((0, true), (repaired.Code, repaired.Repaired));
        var again = await VerifyAsync(scene);
        Assert.Equal((0, 0L), (again.Code, again.DifferentBytes));
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 50);
        var verdict = await scene.Module.JudgeAsync();
        Assert.Empty(verdict.Wrong);
    }

    private static async Task<Outcome> VerifyAsync(Scene scene, params string[] options)
    {
        var result = await scene.Pair.CliAsync(["module", "verify", scene.Module.Key, "--wait", "60s", "--json", .. options]);
        Assert.True(result.Output.Length > 0, result.ToString());
        var report = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal("completed", report.GetProperty("state").GetString());
        return new Outcome(
            result.ExitCode, report.GetProperty("differentBytes").GetInt64(), report.GetProperty("differentEntries").GetInt32(), report.GetProperty("repaired").GetBoolean(),
            [.. report.GetProperty("differences").EnumerateArray().Select(difference => (
                difference.GetProperty("path").GetString()!, difference.GetProperty("offsetBytes").GetInt64(), difference.GetProperty("lengthBytes").GetInt64()))]);
    }

    private sealed record Outcome(int Code, long DifferentBytes, int DifferentEntries, bool Repaired, IReadOnlyList<(string Path, long OffsetBytes, long LengthBytes)> Differences);
}
