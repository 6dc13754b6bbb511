using System.Buffers.Binary;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Storage;

public sealed class ModuleStateFileTests : IDisposable
{
    private static readonly LocalState Some = new(
        new(Guid.Parse("11111111-2222-3333-4444-555555555555"), 42, "host-a", ["host-a", "host-ü"]), DataState.UpToDate, Guid.NewGuid(), Guid.NewGuid(), Run: true);

    private readonly TemporaryDirectory directory = new();

    private string StatePath => directory.File("modules/m/state");

    public void Dispose() => directory.Dispose();

    [Fact]
    public void A_stored_state_reads_back_equal()
    {
        var file = new ModuleStateFile(StatePath);
        Assert.Equal(new(LocalState.Fresh, Existed: false, null), file.Load());
        file.Save(Some);
        Assert.Equal(new(Some, Existed: true, null), file.Load());
        file.Save(LocalState.Fresh);
        Assert.Equal(new(LocalState.Fresh, Existed: true, null), file.Load());
    }

    [Fact]
    public void Crashes_grow_older_while_no_process_runs()
    {
        var file = new ModuleStateFile(StatePath);
        file.Save(Some with { CrashAgesMs = [7_000, 2_000] });
        File.SetLastWriteTimeUtc(StatePath, DateTime.UtcNow.AddHours(-1));
        var ages = file.Load().State.CrashAgesMs;
        Assert.Equal(2, ages.Length);
        Assert.Equal(5_000, ages[0] - ages[1]);
        Assert.InRange(ages[1], 3_602_000, 3_602_000 + 600_000);
    }

    [Fact]
    public void Policy_and_starts_outlive_the_process_and_a_boot_holds_what_shall_not_start()
    {
        var stored = Some with { Policy = new ModulePolicy { FailoverOff = true, StaysDownAtBoot = true, RestartsMax = 7, RestartWindowMs = 60_000, StartPriority = 1 }, Starts = 3 };
        var state = new ModuleState(directory.File("modules/m"));
        state.Save(stored);
        Assert.Equal(stored, state.Load());

        Assert.True(ModuleState.NoteLostPower(directory.Path, new PowerLossMarker(directory.File("run"))));
        Assert.Equal(stored with { LostPower = true, HeldAtBoot = true }, state.Load());
        Assert.False(ModuleState.NoteLostPower(directory.Path, new PowerLossMarker(directory.File("run"))));
    }

    [Fact]
    public void A_damaged_state_is_unknown_never_clean_whatever_byte_is_hit()
    {
        var file = new ModuleStateFile(StatePath);
        file.Save(Some);
        var image = File.ReadAllBytes(StatePath);
        for (var length = 0; length < image.Length; length++)
            Check(image[..length]);
        for (var at = 0; at < image.Length; at++)
        {
            var bad = image.ToArray();
            bad[at] ^= 1;
            Check(bad);
        }
        Check([.. image, 0]);

        void Check(byte[] bad)
        {
            File.WriteAllBytes(StatePath, bad);
            var loaded = file.Load();
            Assert.NotNull(loaded.Damage);
            Assert.Equal(LocalState.Fresh, loaded.State);
            Assert.Equal(DataState.Unknown, loaded.State.DataState);
        }
    }

    [Fact]
    public void A_crash_while_the_state_is_replaced_leaves_the_old_one()
    {
        var file = new ModuleStateFile(StatePath);
        file.Save(Some);
        File.WriteAllText(StatePath + ".new", "PLXSTAT");
        Assert.Equal(Some, file.Load().State);
    }

    [Fact]
    public void A_state_of_a_newer_version_is_refused()
    {
        var file = new ModuleStateFile(StatePath);
        file.Save(Some);
        var image = File.ReadAllBytes(StatePath);
        image[8] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(image.Length - 4), Crc32C.Compute(image.AsSpan(0, image.Length - 4)));
        File.WriteAllBytes(StatePath, image);
        Assert.Equal(StorageFault.NewerVersion, Assert.Throws<StorageException>(() => file.Load()).Fault);
    }

    [Fact]
    public void A_sealed_state_with_missing_parts_is_damage()
    {
        foreach (var json in new[] { "null", "{}", """{"Record":null,"DataState":"UpToDate"}""", "[]", """{"DataState":"Perfect"}""" })
        {
            var body = System.Text.Encoding.UTF8.GetBytes(json);
            byte[] image = [.. "PLXSTAT\0"u8, 1, 0, 0, 0, (byte)body.Length, 0, 0, 0, .. body, 0, 0, 0, 0];
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(image.Length - 4), Crc32C.Compute(image.AsSpan(0, image.Length - 4)));
            Directory.CreateDirectory(Path.GetDirectoryName(StatePath)!);
            File.WriteAllBytes(StatePath, image);
            Assert.NotNull(new ModuleStateFile(StatePath).Load().Damage);
        }
    }

    [Fact]
    public void Modules_have_separate_directories_below_the_state_directory()
    {
        var keys = new[] { "cluster/vm", "cluster%2Fvm", "cluster", ".", "..", "a b", "ü" };
        var paths = keys.Select(k => ModuleStateDirectory.PathFor("/state", k)).ToList();
        Assert.Equal(keys.Length, paths.Distinct().Count());
        Assert.All(paths, p => Assert.Equal("/state/modules", Path.GetDirectoryName(Path.GetFullPath(p))));
    }

    [Fact]
    public void A_boot_without_the_marker_or_with_that_of_another_boot_is_a_loss_of_power()
    {
        var bootId = directory.File("boot_id");
        File.WriteAllText(bootId, "first");
        var marker = new PowerLossMarker(directory.File("run"), bootId);
        Assert.True(marker.LostPower());
        Assert.True(marker.LostPower());
        marker.Set();
        Assert.False(marker.LostPower());
        File.WriteAllText(bootId, "second");
        Assert.True(marker.LostPower());
    }
}
