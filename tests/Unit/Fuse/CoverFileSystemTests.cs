using Pollux.DataPlane.Fuse;

namespace Pollux.Tests.Unit.Fuse;

public sealed class CoverFileSystemTests
{
    [FuseFact]
    public void The_cover_shows_why_the_host_is_not_primary_and_follows_changes()
    {
        using var sandbox = new FuseSandbox();
        var cover = new CoverFileSystem("Module vm1 runs on host a.");
        using var session = sandbox.Start(cover);

        Assert.Equal([sandbox.File1(CoverFileSystem.FileName)], Directory.GetFileSystemEntries(sandbox.Path));
        Assert.Equal("Module vm1 runs on host a.\n", File.ReadAllText(sandbox.File1(CoverFileSystem.FileName)));

        cover.Explanation = "Module vm1 is being resynced from host b.";

        Assert.Equal("Module vm1 is being resynced from host b.\n", File.ReadAllText(sandbox.File1(CoverFileSystem.FileName)));
        Assert.Equal(UnmountOutcome.Clean, session.Stop(FuseSandbox.Timeout));
    }

    [FuseFact]
    public void Nobody_reads_or_changes_the_copy_through_the_cover()
    {
        using var sandbox = new FuseSandbox();
        using var session = sandbox.Start(new CoverFileSystem("Not primary."));
        var secret = sandbox.File1(FuseSandbox.SecretName);
        var file = sandbox.File1(CoverFileSystem.FileName);

        Assert.Throws<UnauthorizedAccessException>(() => File.ReadAllText(secret));
        Assert.ThrowsAny<Exception>(() => File.WriteAllText(secret, "x"));
        Assert.ThrowsAny<Exception>(() => File.WriteAllText(sandbox.File1("new"), "x"));
        Assert.ThrowsAny<Exception>(() => Directory.CreateDirectory(sandbox.File1("new")));
        Assert.ThrowsAny<IOException>(() => File.AppendAllText(file, "x"));
        Assert.ThrowsAny<IOException>(() => File.Delete(file));
        Assert.ThrowsAny<IOException>(() => File.SetLastWriteTimeUtc(file, DateTime.UnixEpoch));
        Assert.ThrowsAny<Exception>(() => File.Move(file, secret));

        Assert.Equal(FuseSandbox.SecretText, sandbox.SecretUnderTheMount);
    }

    [Fact]
    public void An_explanation_beyond_the_limit_is_refused()
    {
        Assert.Throws<ArgumentException>(() => new CoverFileSystem(new string('x', CoverFileSystem.TextBytesMax + 1)));
    }
}
