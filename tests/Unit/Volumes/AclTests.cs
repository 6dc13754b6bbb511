using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Fuse;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>POSIX ACLs on a mirrored pair: kept with the mode, obeyed by the kernel, inherited, equal on both hosts.</summary>
public sealed class AclTests
{
    private const string SetFacl = "/usr/bin/setfacl";
    private const string SetPriv = "/usr/bin/setpriv";

    [FuseFact(SetFacl)]
    public async Task An_acl_and_the_mode_agree_and_are_equal_on_both_hosts()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("touch f && chmod 640 f && setfacl -m u:1234:rw,g:55:r f");

        Assert.Equal("660 user::rw-,user:1234:rw-,group::r--,group:55:r--,mask::rw-,other::---", mount.Shell("echo $(stat -c %a f) $(getfacl -cnp f | paste -sd, | sed 's/,$//')"));
        mount.Shell("chmod 604 f");
        Assert.Contains("mask::---", mount.Shell("getfacl -cnp f"), StringComparison.Ordinal);
        mount.Shell("cp -a f copy && setfacl -b f && setfacl -m d:u:7:rwx . && mkdir d && setfacl -k .");

        Assert.Equal("", mount.Shell("getfattr -m posix_acl f"));
        Assert.Contains("user:1234:rw-", mount.Shell("getfacl -cnp copy"), StringComparison.Ordinal);
        Assert.Contains("default:user:7:rwx", mount.Shell("getfacl -cnp d"), StringComparison.Ordinal);
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact(SetFacl, SetPriv)]
    public async Task Access_is_granted_and_refused_by_the_acl()
    {
        await using var mount = await MirroredMount.CreateAsync();
        const string asUser = "setpriv --reuid=1234 --regid=1234 --clear-groups";
        mount.Shell("chmod 755 . && mkdir d && chmod 700 d && echo secret > d/f && chmod 600 d/f");

        Assert.Equal("refused", mount.Shell($"{asUser} cat d/f 2>/dev/null || echo refused"));
        mount.Shell("setfacl -m u:1234:x d && setfacl -m u:1234:r d/f");
        Assert.Equal("secret", mount.Shell($"{asUser} cat d/f"));
        Assert.Equal("refused", mount.Shell($"{asUser} bash -c 'echo x >> d/f' 2>/dev/null || echo refused"));
        mount.Shell("setfacl -m m::- d/f");
        Assert.Equal("refused", mount.Shell($"{asUser} cat d/f 2>/dev/null || echo refused"));
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact(SetFacl)]
    public async Task New_entries_inherit_the_default_acl_in_place_of_the_umask()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("umask 077; mkdir plain && touch plain/f && mkdir plain/d && mkfifo plain/p");
        Assert.Equal("700 600 700 600", mount.Shell("stat -c %a plain plain/f plain/d plain/p | tr '\\n' ' '").Trim());

        mount.Shell("mkdir shared && setfacl -m d:u:1234:rwx,d:g::rx,d:o::- shared && umask 077 && cd shared && touch f && mkdir d && mkfifo p && ln -s f l && install -m 444 /dev/null r");

        // As on the file system of this machine.
        mount.Shell("o=$(mktemp -d) && (cd $o && mkdir shared && setfacl -m d:u:1234:rwx,d:g::rx,d:o::- shared && umask 077 && cd shared && touch f && mkdir d"
            + " && mkfifo p && install -m 444 /dev/null r && getfacl -np . f d p r > ../wanted) && (cd shared && getfacl -np . f d p r | diff $o/wanted -) && rm -r $o");
        Assert.Contains("user:1234:rwx", mount.Shell("getfacl -cnp shared/d"), StringComparison.Ordinal);
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact(SetFacl, SetPriv)]
    public async Task A_change_of_the_acl_by_one_outside_the_group_clears_set_group_id()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("chmod 755 . && touch f && chown 1234:99 f && chmod 2770 f");

        mount.Shell("setpriv --reuid=1234 --regid=1234 --clear-groups setfacl -m u:5:rx f");

        Assert.Equal("770", mount.Shell("stat -c %a f"));
        await mount.AssertEqualAtTheEndAsync();
    }

    [Fact]
    public void Bytes_that_are_no_default_acl_are_refused()
    {
        var mode = 0x1FFu;
        foreach (var bytes in (byte[][])[[], [2, 0, 0, 0], [1, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0], [2, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0], [2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0]])
            Assert.Equal(Errno.EINVAL, PosixAcl.Inherit(bytes, ref mode, out _));
        Assert.Equal(0x1FFu, mode);
    }
}
